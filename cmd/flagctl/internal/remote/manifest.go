package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect"
)

// manifestPath is where a server has the file of the OpenFeature command line.
const manifestPath = "/openfeature/v0/manifest.json"

// Manifest is the manifest of a namespace as the OpenFeature command line reads
// it from a file; "" leaves the namespace to the server. Its errors are for
// Explain.
func (c *Client) Manifest(ctx context.Context, namespace string) (json.RawMessage, error) {
	limited, cancel := context.WithTimeout(ctx, c.target.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, c.base+manifestPath, nil)
	if err != nil {
		return nil, err
	}
	if namespace != "" {
		req.Header.Set("Plimsoll-Namespace", namespace)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, Broken(ctx, unanswered(limited, err))
	}
	defer func() { _ = res.Body.Close() }() // only read from
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, Broken(ctx, unanswered(limited, err))
	case res.StatusCode != http.StatusOK:
		return nil, refusal(res, text)
	case !json.Valid(text):
		return nil, connect.NewError(connect.CodeUnknown, errors.New("the answer is no JSON"))
	}
	return text, nil
}

// unanswered gives an error that no server sent the code that connect-go would.
func unanswered(ctx context.Context, err error) error {
	code := connect.CodeUnavailable
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case ctx.Err() != nil:
		code = connect.CodeCanceled
	}
	return connect.NewError(code, err)
}

// refusal is an error that the server answered with.
func refusal(res *http.Response, text []byte) error {
	var body struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &body) != nil || body.Error.Message == "" {
		if res.StatusCode == http.StatusNotFound {
			return connect.NewWireError(connect.CodeUnimplemented, fmt.Errorf("%s: %s", manifestPath, res.Status))
		}
		return connect.NewError(connect.CodeUnknown, fmt.Errorf("HTTP status %s", res.Status))
	}
	code := connect.CodeInternal
	switch res.StatusCode {
	case http.StatusBadRequest:
		code = connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		code = connect.CodeUnauthenticated
	case http.StatusForbidden:
		code = connect.CodePermissionDenied
	case http.StatusNotFound:
		code = connect.CodeNotFound
	case http.StatusServiceUnavailable:
		code = connect.CodeUnavailable
	}
	return connect.NewWireError(code, errors.New(body.Error.Message))
}
