package devnet

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed experiments/*.toml
var library embed.FS

// Shipped is the text of an experiment or a sweep that comes with the program, by its name without
// ".toml", and whether there is one.
func Shipped(name string) ([]byte, bool) {
	text, err := library.ReadFile(path.Join("experiments", name+".toml"))
	return text, err == nil
}

// ShippedExperiment is one line about what [Shipped] knows.
type ShippedExperiment struct {
	Name  string
	About string // the first comment line of its file
	Sweep bool
}

// AllShipped lists what [Shipped] knows, by name.
func AllShipped() (out []ShippedExperiment) {
	files, _ := fs.Glob(library, "experiments/*.toml") // the pattern is good
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".toml")
		text, _ := Shipped(name)
		about, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		out = append(out, ShippedExperiment{name, about, strings.Contains(string(text), "\n[sweep]") || strings.Contains(string(text), "\n[[sweep]]")})
	}
	return out
}
