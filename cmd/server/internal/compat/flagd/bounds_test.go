package flagd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/compat/effective"
	evaluationv1 "github.com/plimsoll-dev/plimsoll/proto/flagd/evaluation/v1"
)

// What ResolveAll costs has a bound, whatever its context holds; few run at once,
// and none without its client.
func TestResolveAllIsBounded(t *testing.T) {
	w := newWorld(t, effective.Options{Turns: 1})
	var doc strings.Builder
	for i := range 60 {
		fmt.Fprintf(&doc, `,"flag-%02d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"some":[{"var":"list"},{"==":[{"var":""},-1]}]},"on","off"]}}`, i)
	}
	w.apply(t, "default", `{"flags":{`+doc.String()[1:]+`}}`)
	ask := func(ctx context.Context, elements int) (*connect.Response[evaluationv1.ResolveAllResponse], error) {
		list := structpb.NewListValue(&structpb.ListValue{Values: make([]*structpb.Value, elements)})
		for i := range elements {
			list.GetListValue().Values[i] = structpb.NewBoolValue(false)
		}
		return w.v1(connect.WithGRPC()).ResolveAll(ctx, connect.NewRequest(&evaluationv1.ResolveAllRequest{
			Context: &structpb.Struct{Fields: map[string]*structpb.Value{"list": list}},
		}))
	}
	if got, err := ask(short(t), 100); err != nil || len(got.Msg.GetFlags()) != 60 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ask(short(t), 150_000); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "steps together") {
		t.Errorf("%v", err)
	}
	turn := w.sets.Turn(t.Context())
	if err := turn.Next(1 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(short(t), 10_000); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "too many") {
		t.Errorf("%v", err)
	}
	if _, err := ask(short(t), 10); err != nil {
		t.Errorf("a short one has to wait: %v", err)
	}
	turn.End()
	turn.End() // once is enough
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := (&v1{New(w.sets)}).ResolveAll(gone, connect.NewRequest(&evaluationv1.ResolveAllRequest{})); err == nil {
		t.Error("it is answered though its client has left")
	}
	if _, err := ask(short(t), 10_000); err != nil {
		t.Error(err)
	}
}
