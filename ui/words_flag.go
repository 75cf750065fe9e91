package ui

import (
	"context"
	"io"

	"github.com/a-h/templ"

	"github.com/plimsoll-dev/plimsoll/ui/internal/rules"
)

// inWords is a rule in words. It is written by hand because templates put spaces
// where a sentence has none.
func inWords(words []rules.Word) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		for _, word := range words {
			text := templ.EscapeString(clip(word.Text, 200))
			if word.Kind != "" {
				text = `<b class="word word-` + templ.EscapeString(word.Kind) + `"><bdi>` + text + `</bdi></b>`
			}
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
		return nil
	})
}
