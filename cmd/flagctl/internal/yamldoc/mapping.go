package yamldoc

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// mappingWriter writes the members of one mapping. Its own keys win over what
// is merged into it (<<), wherever the merge stands.
type mappingWriter struct {
	*converter
	at      *step
	own     map[string]bool
	written map[string]bool
}

// claim notes a key of the mapping itself. The same key twice is written twice:
// whoever reads the JSON refuses it, and knows where it stands.
func (m *mappingWriter) claim(v *ast.MappingValueNode) {
	if _, isMerge := v.Key.(*ast.MergeKeyNode); !isMerge {
		m.own[m.key(v.Key)] = true
	}
}

// key is the text of a key. What is no string is a fault, and goes on as the
// text that it was written as.
func (m *mappingWriter) key(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		if n.Token.Type == token.StringType && jsonNumber.MatchString(n.Value) {
			break
		}
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.MappingKeyNode:
		return m.key(n.Value)
	case *ast.AnchorNode:
		m.anchors[n.Name.GetToken().Value] = &anchor{node: n.Value}
		return m.key(n.Value)
	case *ast.AliasNode:
		if a := m.resolve(n, m.at); a != nil {
			return m.key(a.node)
		}
		return ""
	case *ast.TagNode:
		if n.Start.Value == "!!str" {
			return scalarText(n.Value)
		}
	}
	text := n.GetToken().Value
	if _, scalar := n.(ast.ScalarNode); !scalar {
		m.fault(n, m.at, "this key is no string", "use a string as the key")
		return text
	}
	m.fault(n, m.at, fmt.Sprintf("the key %s is no string", text), fmt.Sprintf("quote it: %q", text))
	return text
}

// member writes one member of the mapping itself.
func (m *mappingWriter) member(v *ast.MappingValueNode) {
	faults := len(m.faults)
	name := m.key(v.Key)
	m.faults = m.faults[:faults] // claim has reported it
	m.put(name, v)
}

func (m *mappingWriter) put(name string, v *ast.MappingValueNode) {
	if len(m.written) > 0 {
		m.emit(",")
	}
	m.written[name] = true
	m.mark(v.Key.GetToken())
	m.emit(quoted(name))
	m.emit(":")
	m.value(v.Value, m.at.member(name))
}

// merge writes the members of the mappings that n names, but for those that
// are there already.
func (m *mappingWriter) merge(n ast.Node) {
	switch n := n.(type) {
	case *ast.AliasNode:
		if a := m.resolve(n, m.at); a != nil {
			a.open = true
			m.merge(a.node)
			a.open = false
		}
	case *ast.AnchorNode:
		m.anchors[n.Name.GetToken().Value] = &anchor{node: n.Value}
		m.merge(n.Value)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			m.merge(v)
		}
	case *ast.MappingNode:
		m.mergeValues(n.Values)
	case *ast.MappingValueNode:
		m.mergeValues([]*ast.MappingValueNode{n})
	default:
		m.fault(n, m.at, "<< takes a mapping, or a list of mappings", "quote the key, if << is its name")
	}
}

func (m *mappingWriter) mergeValues(values []*ast.MappingValueNode) {
	for _, v := range values {
		if _, isMerge := v.Key.(*ast.MergeKeyNode); isMerge {
			m.merge(v.Value)
			continue
		}
		if name := m.key(v.Key); !m.written[name] && !m.own[name] {
			m.put(name, v)
		}
	}
}
