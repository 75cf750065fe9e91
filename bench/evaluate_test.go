package bench

import (
	"testing"
)

var cases = []struct{ name, flag string }{
	{"static", staticFlag}, {"rule", ruleFlag}, {"conditions", conditionsFlag}, {"rollout", rolloutFlag},
}

// BenchmarkEvaluate is one call of a provider's method, as the SDK's client
// makes it.
func BenchmarkEvaluate(b *testing.B) {
	all := contestants(b)
	for _, tc := range cases {
		for _, c := range all {
			b.Run("case="+tc.name+"/impl="+c.name, func(b *testing.B) {
				ctx, attributes := b.Context(), customer()
				b.ReportAllocs()
				for b.Loop() {
					c.provider.BooleanEvaluation(ctx, tc.flag, false, attributes)
				}
			})
		}
	}
}

// BenchmarkScaling is the same from as many goroutines as there are
// processors. Its time is per call, all goroutines together: run with -cpu 1,2
// it halves where nothing is shared.
func BenchmarkScaling(b *testing.B) {
	all := contestants(b)
	for _, tc := range cases {
		for _, c := range all {
			b.Run("case="+tc.name+"/impl="+c.name, func(b *testing.B) {
				ctx := b.Context()
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					attributes := customer()
					for pb.Next() {
						c.provider.BooleanEvaluation(ctx, tc.flag, false, attributes)
					}
				})
			})
		}
	}
}
