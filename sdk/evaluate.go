package sdk

import (
	"context"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// noSet is the detail of every answer before there are flags: the caller's
// default, which is not an error.
var noSet = openfeature.ProviderResolutionDetail{Reason: openfeature.DefaultReason}

// The methods below fill their results in place: building a part apart and
// copying it in costs as much as the evaluation itself.

// BooleanEvaluation evaluates a bool flag.
func (p *Provider) BooleanEvaluation(ctx context.Context, key string, fallback bool, flat openfeature.FlattenedContext) (d openfeature.BoolResolutionDetail) {
	set, _ := p.view(ctx)
	if set == nil {
		d.Value, d.ProviderResolutionDetail = fallback, noSet
		return d
	}
	r := set.Bool(key, fallback, flat)
	d.Value, d.Reason, d.Variant, d.FlagMetadata = r.Value, openfeature.Reason(r.Reason), r.Variant, r.Metadata
	if r.ErrorCode != "" {
		d.ResolutionError = resolutionError(r.ErrorCode, r.Message)
	}
	return d
}

// StringEvaluation evaluates a string flag.
func (p *Provider) StringEvaluation(ctx context.Context, key string, fallback string, flat openfeature.FlattenedContext) (d openfeature.StringResolutionDetail) {
	set, _ := p.view(ctx)
	if set == nil {
		d.Value, d.ProviderResolutionDetail = fallback, noSet
		return d
	}
	r := set.String(key, fallback, flat)
	d.Value, d.Reason, d.Variant, d.FlagMetadata = r.Value, openfeature.Reason(r.Reason), r.Variant, r.Metadata
	if r.ErrorCode != "" {
		d.ResolutionError = resolutionError(r.ErrorCode, r.Message)
	}
	return d
}

// FloatEvaluation evaluates a number flag.
func (p *Provider) FloatEvaluation(ctx context.Context, key string, fallback float64, flat openfeature.FlattenedContext) (d openfeature.FloatResolutionDetail) {
	set, _ := p.view(ctx)
	if set == nil {
		d.Value, d.ProviderResolutionDetail = fallback, noSet
		return d
	}
	r := set.Float(key, fallback, flat)
	d.Value, d.Reason, d.Variant, d.FlagMetadata = r.Value, openfeature.Reason(r.Reason), r.Variant, r.Metadata
	if r.ErrorCode != "" {
		d.ResolutionError = resolutionError(r.ErrorCode, r.Message)
	}
	return d
}

// IntEvaluation evaluates a number flag; a fraction is cut off.
func (p *Provider) IntEvaluation(ctx context.Context, key string, fallback int64, flat openfeature.FlattenedContext) (d openfeature.IntResolutionDetail) {
	set, _ := p.view(ctx)
	if set == nil {
		d.Value, d.ProviderResolutionDetail = fallback, noSet
		return d
	}
	r := set.Int(key, fallback, flat)
	d.Value, d.Reason, d.Variant, d.FlagMetadata = r.Value, openfeature.Reason(r.Reason), r.Variant, r.Metadata
	if r.ErrorCode != "" {
		d.ResolutionError = resolutionError(r.ErrorCode, r.Message)
	}
	return d
}

// ObjectEvaluation evaluates an object flag. Its value is a map[string]any that
// all callers share: it must not be changed.
func (p *Provider) ObjectEvaluation(ctx context.Context, key string, fallback any, flat openfeature.FlattenedContext) (d openfeature.InterfaceResolutionDetail) {
	set, _ := p.view(ctx)
	if set == nil {
		d.Value, d.ProviderResolutionDetail = fallback, noSet
		return d
	}
	r := set.Object(key, fallback, flat)
	d.Value, d.Reason, d.Variant, d.FlagMetadata = r.Value, openfeature.Reason(r.Reason), r.Variant, r.Metadata
	if r.ErrorCode != "" {
		d.ResolutionError = resolutionError(r.ErrorCode, r.Message)
	}
	return d
}

// resolutionError is the error of an evaluation as OpenFeature has it.
func resolutionError(code flag.ErrorCode, message string) openfeature.ResolutionError {
	switch code {
	case flag.FlagNotFound:
		return openfeature.NewFlagNotFoundResolutionError(message)
	case flag.TypeMismatch:
		return openfeature.NewTypeMismatchResolutionError(message)
	case flag.ParseError:
		return openfeature.NewParseErrorResolutionError(message)
	default:
		return openfeature.NewGeneralResolutionError(message)
	}
}

// fraction is a level as people write it: 0.4, not 400 000.
func fraction(l degrade.Level) float64 { return float64(l) / float64(degrade.One) }
