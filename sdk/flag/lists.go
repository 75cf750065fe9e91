package flag

// within evaluates the body of a loop with an element as its scope.
func (e *evaluation) within(scope value, body *node) value {
	outer := e.scope
	e.scope = scope
	v := e.eval(body)
	e.scope = outer
	return v
}

// body is the second argument of an operation over a list.
func (n *node) body() *node {
	if len(n.args) > 1 {
		return n.args[1]
	}
	return nullNode
}

// collect is map and filter. Over anything that is no list they are empty.
func (e *evaluation) collect(n *node) value {
	list, body := e.arg(n, 0), n.body()
	out := []value{}
	for i, l := 0, list.items(); i < l && e.charge(int(body.size)); i++ {
		item := list.at(i)
		v := e.within(item, body)
		switch {
		case n.op == opMap:
			out = append(out, v)
		case v.truthy():
			out = append(out, item)
		}
	}
	return listValue(out)
}

// items is the length of a list, 0 of anything else.
func (v value) items() int {
	if v.kind != kindList {
		return 0
	}
	return v.length()
}

// reduce yields its initial value over anything that is no list.
func (e *evaluation) reduce(n *node) value {
	list, body := e.arg(n, 0), n.body()
	result := e.arg(n, 2)
	for i, l := 0, list.items(); i < l && e.charge(int(body.size)); i++ {
		scope := &foldScope{current: list.at(i), accumulator: result}
		result = e.within(value{kind: kindFold, data: scope}, body)
	}
	return result
}

// quantify is all, some and none. An empty list is neither all nor some.
func (e *evaluation) quantify(n *node) value {
	list, body := e.arg(n, 0), n.body()
	l := list.items()
	stop := n.op != opAll
	for i := 0; i < l && e.charge(int(body.size)); i++ {
		if e.within(list.at(i), body).truthy() == stop {
			return boolValue(n.op == opSome)
		}
	}
	return boolValue(n.op == opNone || (n.op == opAll && l > 0))
}

// merge puts lists, and anything else as lists of one, into one list.
func (e *evaluation) merge(n *node) value {
	out := []value{}
	for _, a := range n.args {
		v := e.eval(a)
		if e.exhausted() {
			break
		}
		if v.kind != kindList {
			out = append(out, v)
			continue
		}
		for i, l := 0, v.length(); i < l && e.charge(1); i++ {
			out = append(out, v.at(i))
		}
	}
	return listValue(out)
}
