package connectadmission_test

import (
	"log"
	"net/http"

	"connectrpc.com/connect"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/connectadmission"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

func ExampleNewServerInterceptor() {
	controller, err := admission.New()
	if err != nil {
		log.Fatal(err)
	}
	edge, err := admission.NewEdge(controller, admission.WithRules(
		admission.Rule{Pattern: "/plimsoll.v1.FlagService/", Tier: "important"},
		admission.Rule{Pattern: "/plimsoll.v1.FlagService/ListFlags", Tier: "optional"},
	))
	if err != nil {
		log.Fatal(err)
	}
	var flags plimsollv1connect.UnimplementedFlagServiceHandler
	mux := http.NewServeMux()
	mux.Handle(plimsollv1connect.NewFlagServiceHandler(flags, connect.WithInterceptors(connectadmission.NewServerInterceptor(edge))))
}

func ExampleNewClientInterceptor() {
	throttle, err := admission.NewThrottle()
	if err != nil {
		log.Fatal(err)
	}
	client := plimsollv1connect.NewFlagServiceClient(http.DefaultClient, "http://127.0.0.1:8013",
		connect.WithInterceptors(connectadmission.NewClientInterceptor(throttle)))
	_ = func(r *http.Request) { // in a handler: the call has the tier of the request
		_, err := client.ListFlags(r.Context(), connect.NewRequest(&plimsollv1.ListFlagsRequest{}))
		if after, refused := connectadmission.RetryAfter(err); refused {
			log.Print("refused; not to be sent again within ", after)
		}
	}
}
