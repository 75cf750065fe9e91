package grpcadmission_test

import (
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/grpcadmission"
)

func ExampleUnaryServerInterceptor() {
	controller, err := admission.New()
	if err != nil {
		log.Fatal(err)
	}
	edge, err := admission.NewEdge(controller, admission.WithRules(
		admission.Rule{Pattern: "/shop.v1.Cart/Pay", Tier: "critical"},
		admission.Rule{Pattern: "/grpc.health.v1.Health/", Exempt: true},
	))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcadmission.UnaryServerInterceptor(edge)),
		grpc.ChainStreamInterceptor(grpcadmission.StreamServerInterceptor(edge)),
	)
	defer server.Stop()
}

func ExampleUnaryClientInterceptor() {
	throttle, err := admission.NewThrottle()
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("dns:///cart.example:443",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(grpcadmission.UnaryClientInterceptor(throttle)),
		grpc.WithChainStreamInterceptor(grpcadmission.StreamClientInterceptor(throttle)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}
