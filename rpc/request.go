package rpc

import (
	"bytes"
	"encoding/json"
)

// request is one call as it stands in a body; its id and params are the body's own bytes. Names count
// exactly as written, and of one that is there twice the last.
type request struct {
	version string
	method  string
	id      json.RawMessage // nil: none, which makes it a notification
	params  json.RawMessage // nil: none
	answer  bool            // it carries a result or an error, as answers do
}

// parse takes a body apart. What is no object becomes a request that is no call. A body is a batch when many
// is not negative, which is how many requests it has; above most, only most+1 of them are returned, the first
// one that is a call among them.
func parse(body []byte, most int) (calls []request, many int, err error) {
	if !json.Valid(body) {
		return nil, -1, &codeError{codeParse, "parse error"}
	}
	if !isArray(body) {
		return []request{parseRequest(body)}, -1, nil
	}
	called := false
	eachElement(body, func(member []byte) {
		many++
		if many > most+1 && called {
			return
		}
		r := parseRequest(member)
		called = called || r.isCall()
		if len(calls) <= most {
			calls = append(calls, r)
		} else if called {
			calls[most] = r
		}
	})
	return calls, many, nil
}

// parseRequest reads one member of a body, which is valid JSON.
func parseRequest(raw []byte) (r request) {
	eachField(raw, func(key, value []byte) {
		name, ok := plainText(key)
		if !ok {
			json.Unmarshal(key, &name)
		}
		switch name {
		case "jsonrpc":
			r.version = text(value)
		case "id":
			r.id = value
		case "method":
			r.method = text(value)
		case "params":
			r.params = value
		case "result", "error":
			r.answer = true
		}
	})
	return r
}

// identified tells that the id is one that an answer can carry.
func (r *request) identified() bool { return len(r.id) > 0 && r.id[0] != '{' && r.id[0] != '[' }

func (r *request) valid() bool { return r.version == "2.0" && r.method != "" }

func (r *request) isCall() bool { return r.valid() && r.identified() }

func (r *request) isNotification() bool { return r.valid() && r.id == nil }

// isAnswer tells that it answers a call that this server never made.
func (r *request) isAnswer() bool {
	return r.version == "2.0" && r.method == "" && r.identified() && r.params == nil && r.answer
}

// text returns the string that a value is, "" for anything else.
func text(value []byte) (s string) {
	if s, ok := plainText(value); ok {
		return s
	}
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// plainText returns a string that reads as it is written, without escapes and beyond ASCII.
func plainText(value []byte) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	for _, c := range inner {
		if c == '\\' || c >= 0x80 {
			return "", false
		}
	}
	return string(inner), true
}

func isArray(raw []byte) bool {
	raw = bytes.TrimLeft(raw, jsonSpace)
	return len(raw) > 0 && raw[0] == '['
}

func isNull(raw []byte) bool { return string(bytes.Trim(raw, jsonSpace)) == "null" }

// jsonSpace is what RFC 8259 lets stand between tokens.
const jsonSpace = " \t\r\n"

// eachField calls visit with key and value of each field of an object, and not at all for any other
// value. raw is valid JSON, for this and the functions below: they only find where things end.
func eachField(raw []byte, visit func(key, value []byte)) {
	at := skipSpace(raw, 0)
	if raw[at] != '{' {
		return
	}
	for at = skipSpace(raw, at+1); raw[at] != '}'; {
		end := valueEnd(raw, at)
		key := raw[at:end]
		at = skipSpace(raw, skipSpace(raw, end)+1) // behind the colon
		end = valueEnd(raw, at)
		visit(key, raw[at:end])
		at = nextMember(raw, end)
	}
}

// eachElement calls visit with each element of an array.
func eachElement(raw []byte, visit func(element []byte)) {
	for at := skipSpace(raw, skipSpace(raw, 0)+1); raw[at] != ']'; {
		end := valueEnd(raw, at)
		visit(raw[at:end])
		at = nextMember(raw, end)
	}
}

// nextMember returns where the next member begins, or the bracket that ends them.
func nextMember(raw []byte, end int) int {
	at := skipSpace(raw, end)
	if raw[at] == ',' {
		at = skipSpace(raw, at+1)
	}
	return at
}

func skipSpace(raw []byte, at int) int {
	for raw[at] == ' ' || raw[at] == '\t' || raw[at] == '\r' || raw[at] == '\n' {
		at++
	}
	return at
}

// valueEnd returns the end of the value that begins at a place.
func valueEnd(raw []byte, at int) int {
	switch raw[at] {
	case '"':
		return stringEnd(raw, at)
	case '{', '[':
		for depth := 0; ; at++ {
			switch raw[at] {
			case '"':
				at = stringEnd(raw, at) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return at + 1
				}
			}
		}
	}
	for at < len(raw) && bytes.IndexByte([]byte(",]} \t\r\n"), raw[at]) < 0 {
		at++
	}
	return at
}

func stringEnd(raw []byte, at int) int {
	for at++; raw[at] != '"'; at++ {
		if raw[at] == '\\' {
			at++
		}
	}
	return at + 1
}
