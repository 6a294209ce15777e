package replay

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.." // of the repository

// toolchain is the go command's own version and root.
func toolchain(t *testing.T) (version, goroot string) {
	out, err := exec.Command("go", "env", "GOVERSION", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, goroot, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !slices.Contains(Known, version) {
		t.Skipf("toolchain %s is not known to this package", version)
	}
	return version, goroot
}

// TestWrite: every edit is in the copies, these are Go, and the originals are as they were.
func TestWrite(t *testing.T) {
	version, goroot := toolchain(t)
	dir := t.TempDir()
	path, err := Write(version, goroot, root, dir)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(raw, &overlay); err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, e := range edits {
		files[e.file] = true
		original := filepath.Join(goroot, "src", e.file)
		if e.ours {
			if original, err = filepath.Abs(filepath.Join(root, e.file)); err != nil {
				t.Fatal(err)
			}
		}
		copied := overlay.Replace[original]
		if filepath.Dir(copied) != dir {
			t.Fatalf("%s is replaced by %q, want a file in %s", original, copied, dir)
		}
		if text := read(t, copied); !strings.Contains(text, e.new) {
			t.Errorf("%s lacks %q", copied, e.new)
		}
		if text := read(t, original); strings.Contains(text, e.new) && !strings.Contains(e.old, e.new) {
			t.Errorf("%s itself was changed", original)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), copied, nil, 0); err != nil {
			t.Error(err)
		}
	}
	if len(files) != len(overlay.Replace) {
		t.Errorf("%d files are replaced, want %d", len(overlay.Replace), len(files))
	}
}

// TestWriteRefuses a toolchain it does not know, by name, and one whose source is not the expected
// one, by the place.
func TestWriteRefuses(t *testing.T) {
	if _, err := Write("go1.99.0", "/nowhere", root, t.TempDir()); !errors.Is(err, ErrToolchain) || !strings.Contains(err.Error(), "go1.99.0") {
		t.Errorf("Write with go1.99.0 = %v, want ErrToolchain that names it", err)
	}
	version, goroot := toolchain(t)
	other := t.TempDir()
	for _, e := range edits {
		if e.ours {
			continue
		}
		text := read(t, filepath.Join(goroot, "src", e.file))
		if e.file == "runtime/select.go" {
			text = strings.ReplaceAll(text, "cheaprandn", "otherrandn")
		}
		path := filepath.Join(other, "src", e.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "overlay")
	if _, err := Write(version, other, root, dir); !errors.Is(err, ErrToolchain) || !strings.Contains(err.Error(), "select.go") {
		t.Errorf("Write over a changed select.go = %v, want ErrToolchain that names it", err)
	}
	if _, err := Write(version, t.TempDir(), root, dir); !errors.Is(err, ErrToolchain) {
		t.Errorf("Write over an empty GOROOT = %v, want ErrToolchain", err)
	}
}

func read(t *testing.T, path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
