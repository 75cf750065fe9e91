package manifest

import (
	"fmt"
	"io"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// ReadDefinition reads a file, or with "-" standard input, that holds the
// definition of one flag. The definition is non-nil if and only if no fault is
// an error.
func ReadDefinition(key, path string, stdin io.Reader) (*flag.Definition, []Fault, error) {
	sources, err := open([]string{path}, stdin)
	if err != nil {
		return nil, nil, err
	}
	if len(sources) != 1 {
		return nil, nil, fmt.Errorf("%s holds %d files; the definition of a flag is one", path, len(sources))
	}
	if err := sources[0].err; err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", sources[0].name, err)
	}
	docs, faults := parseSource(sources[0])
	if len(docs) > 1 {
		return nil, nil, fmt.Errorf("%s holds %d documents; the definition of a flag is one", sources[0].name, len(docs))
	}
	if len(docs) == 0 {
		return nil, faults, nil
	}
	def, found := flag.Parse(key, docs[0].json, anything)
	if len(faults) > 0 {
		def = nil
	}
	for _, f := range found {
		faults = append(faults, docs[0].fault(f))
	}
	return def, faults, nil
}
