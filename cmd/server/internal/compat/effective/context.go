package effective

import "net/http"

// Context is what the server adds to the evaluation contexts that clients send.
// The zero value adds nothing.
type Context struct {
	// Values win over those of the client.
	Values map[string]string
	// FromHeader are the names in the context of request headers; they win over
	// Values. A header that is not sent adds nothing.
	FromHeader map[string]string
}

// Merge adds to a client's context, which may be nil, and which it changes.
func (c Context) Merge(client map[string]any, header http.Header) map[string]any {
	if client == nil {
		client = make(map[string]any, len(c.Values)+len(c.FromHeader))
	}
	for name, value := range c.Values {
		client[name] = value
	}
	for from, name := range c.FromHeader {
		if value := header.Get(from); value != "" {
			client[name] = value
		}
	}
	return client
}
