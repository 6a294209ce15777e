package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ErrInvalid is wrapped by every complaint about an experiment: bad syntax, an unknown key, a
// value that cannot be run.
var ErrInvalid = errors.New("experiment")

// maxFile bounds an experiment file before it is parsed.
const maxFile = 1 << 20

// Decode reads an experiment file strictly and leaves absent fields zero, so that flags may still
// fill them. name is the file's, for errors, which give line and column; an unknown key is an error.
func Decode(name string, text []byte) (Spec, error) {
	var s Spec
	err := decode(name, text, &s)
	return s, err
}

// decode reads text into a struct.
func decode(name string, text []byte, into any) error {
	if len(text) > maxFile {
		return fmt.Errorf("%w: %s is %d bytes: an experiment has at most %d", ErrInvalid, name, len(text), maxFile)
	}
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into)
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		var keys []string
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			row, col := e.Position()
			keys = append(keys, fmt.Sprintf("%s:%d:%d: unknown key %q", name, row, col, strings.Join(e.Key(), ".")))
		}
		return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(keys, "; "))
	case errors.As(err, &syntax):
		row, col := syntax.Position()
		return fmt.Errorf("%w: %s:%d:%d: %s", ErrInvalid, name, row, col, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	return fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
}
