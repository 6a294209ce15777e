package node_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The part of the house style (CONTRIBUTING.md) that a program can check, read from the syntax alone: names are not resolved
// across packages, so a rule can be fooled on purpose; what it says of honest code is true.

// styleRules gives each rule the files of one folder, tests included, and takes its complaints.
var styleRules = map[string]func(files []source) []string{
	"note":    checkNotes,
	"sleep":   checkSleep,
	"errors":  checkErrors,
	"fuzz":    checkFuzz,
	"globals": checkGlobals,
	"go":      checkGo,
	"length":  checkLength,
}

// longFiles are the files that may pass maxLines, each with its reason.
var longFiles = map[string]string{}

const maxLines = 500

type source struct {
	path string // from the root of the repository
	test bool
	fset *token.FileSet
	ast  *ast.File
}

func (s source) complain(at token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(at).Line, fmt.Sprintf(format, args...))
}

func TestStyle(t *testing.T) {
	folders := map[string][]source{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "runs") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		s, err := parseSource(path, nil)
		folders[filepath.Dir(path)] = append(folders[filepath.Dir(path)], s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) < 5 {
		t.Fatalf("found Go files in %d folders only: is this the repository?", len(folders))
	}
	for _, files := range folders {
		for rule, check := range styleRules {
			for _, complaint := range check(files) {
				t.Errorf("%s (%s)", complaint, rule)
			}
		}
	}
}

func parseSource(path string, src any) (source, error) {
	s := source{path: strings.TrimPrefix(filepath.ToSlash(path), "../"), test: strings.HasSuffix(path, "_test.go"), fset: token.NewFileSet()}
	var err error
	s.ast, err = parser.ParseFile(s.fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

func checkNotes(files []source) (bad []string) {
	note := regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	for _, s := range files {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if word := note.FindString(c.Text); word != "" {
					bad = append(bad, s.complain(c.Pos(), "a %s: do it now, or file an issue and take the note out", word))
				}
			}
		}
	}
	return bad
}

// checkSleep allows a sleep in a test where time is virtual: in a function handed to synctest.Test, or in one that is only ever named
// from there. Everywhere else a sleep makes the test slow or flaky.
func checkSleep(files []source) (bad []string) {
	var uses []use
	opens := bubbles(files)
	for _, s := range files {
		if s.test {
			for _, d := range s.ast.Decls {
				uses = append(uses, usesOf(s, d, opens)...)
			}
		}
	}
	named, outside := map[string]bool{}, map[string]bool{}
	for _, u := range uses {
		named[u.name] = true
	}
	out := func(u use) bool {
		if u.bubble {
			return false
		}
		if u.of != "" { // a method runs where its type lives, if it is called there, or through an interface
			return (outside[u.of] || !named[u.of]) && (outside["."+u.in] || !named["."+u.in])
		}
		return outside[u.in] || !named[u.in] || testFunc.MatchString(u.in)
	}
	for changed := true; changed; {
		changed = false
		for _, u := range uses {
			if u.name != "" && !outside[u.name] && out(u) {
				outside[u.name], changed = true, true
			}
		}
	}
	for _, u := range uses {
		if u.sleep != "" && out(u) {
			bad = append(bad, u.sleep)
		}
	}
	return bad
}

var testFunc = regexp.MustCompile(`^(Test|Benchmark|Fuzz|Example)`)

// use is a name, or a sleep, met in the function in, a method of the type of.
type use struct {
	in, of string
	name   string // with a dot before it where it is selected
	bubble bool   // met in an argument of synctest.Test
	sleep  string // the complaint, if this is a sleep
}

// bubbles returns the functions that run an argument of theirs in a bubble: synctest.Test, devnet/bubble's Run, and those of
// the folder that call the first.
func bubbles(files []source) map[string]bool {
	opens := map[string]bool{"synctest.Test": true, "bubble.Run": true}
	for _, s := range files {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool { _, ok := p.Type.(*ast.FuncType); return ok }) {
				ast.Inspect(f, func(n ast.Node) bool {
					opens[f.Name.Name] = opens[f.Name.Name] || isCall(n, "synctest", "Test")
					return true
				})
			}
		}
	}
	return opens
}

func usesOf(s source, d ast.Decl, opens map[string]bool) (uses []use) {
	limits := map[ast.Node]bool{} // <-time.After(d) as a case of a select bounds a wait
	var walk func(n ast.Node, bubble bool)
	walk = func(n ast.Node, bubble bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			u := use{in: funcName(d), of: receiver(d), bubble: bubble}
			switch n := n.(type) {
			case *ast.CallExpr:
				if opens[callee(n)] {
					for _, arg := range n.Args {
						walk(arg, true)
					}
					return false
				}
			case *ast.CommClause:
				limits[n.Comm] = true
			case *ast.Ident:
				u.name = n.Name
				uses = append(uses, u)
			case *ast.SelectorExpr:
				u.name = "." + n.Sel.Name
				uses = append(uses, u)
				walk(n.X, bubble)
				return false
			}
			if n != nil && isSleep(n) && !limits[n] {
				u.sleep = s.complain(n.Pos(), "a sleep outside a bubble: wait for a condition, or run the test in synctest.Test")
				uses = append(uses, u)
			}
			return true
		})
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Body != nil {
			walk(d.Body, false)
		}
	case *ast.GenDecl:
		if d.Tok == token.VAR {
			walk(d, false)
		}
	}
	return uses
}

// isSleep reports whether n is time.Sleep(d) or the statement <-time.After(d).
func isSleep(n ast.Node) bool {
	if stmt, ok := n.(*ast.ExprStmt); ok {
		wait, ok := stmt.X.(*ast.UnaryExpr)
		return ok && wait.Op == token.ARROW && isCall(wait.X, "time", "After")
	}
	return isCall(n, "time", "Sleep")
}

// checkErrors wants errors decided by errors.Is and errors.As. A test may look at the text, which a person will read.
func checkErrors(files []source) (bad []string) {
	isText := func(e ast.Expr) bool {
		c, ok := e.(*ast.CallExpr)
		return ok && len(c.Args) == 0 && strings.HasSuffix(callee(c), ".Error")
	}
	for _, s := range files {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			text, value := false, false
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					text = isText(n.X) || isText(n.Y)
					value = isIdent(n.X, "err") && !isIdent(n.Y, "nil") || isIdent(n.Y, "err") && !isIdent(n.X, "nil")
				}
			case *ast.SwitchStmt:
				text, value = n.Tag != nil && isText(n.Tag), isIdent(n.Tag, "err")
			case *ast.CallExpr:
				text = compares.MatchString(callee(n)) && slices.ContainsFunc(n.Args, isText)
			}
			if text && !s.test || value {
				bad = append(bad, s.complain(n.Pos(), "an error compared by text or by ==: use errors.Is or errors.As"))
			}
			return true
		})
	}
	return bad
}

var compares = regexp.MustCompile(`^strings\.(Contains|HasPrefix|HasSuffix|EqualFold|Index)$`)

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// checkFuzz wants every decoder reached from a fuzz function of its folder, directly or through functions of the folder.
func checkFuzz(files []source) (bad []string) {
	names, reached := map[string][]string{}, []string{}
	for _, s := range files {
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if s.test && strings.HasPrefix(f.Name.Name, "Fuzz") {
				reached = append(reached, f.Name.Name)
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					names[f.Name.Name] = append(names[f.Name.Name], id.Name)
				}
				return true
			})
		}
	}
	seen := map[string]bool{}
	for len(reached) > 0 {
		name := reached[0]
		reached = reached[1:]
		if !seen[name] {
			seen[name] = true
			reached = append(reached, names[name]...)
		}
	}
	decoder := regexp.MustCompile(`^[Dd]ecode([A-Z0-9]|$)`)
	for _, s := range files {
		for _, d := range s.ast.Decls {
			if name := funcName(d); !s.test && decoder.MatchString(name) && !seen[name] {
				bad = append(bad, s.complain(d.Pos(), "no fuzz function of this folder reaches %s: write Fuzz%s", name, strings.ToUpper(name[:1])+name[1:]))
			}
		}
	}
	return bad
}

// hidden matches what lives on behind a package-level variable: state, or a timer, channel or goroutine that would escape a bubble.
var hidden = regexp.MustCompile(`\b(sync|atomic|prometheus|promauto)\.|\bchan\b|\bmake\(|\btime\.(Now|New|After|Tick)|\bcontext\.With|\brand\.New|^&|\bmap\[.*\{\}$`)

var sentinel = regexp.MustCompile(`^[Ee]rr[A-Z]`)

// checkGlobals allows a package-level variable that is set where it is declared and never again: an error, a table, a pattern, an
// embedded file. It forbids init functions, and setting a variable of another package.
func checkGlobals(files []source) (bad []string) {
	written := map[string]bool{}
	for _, s := range files {
		imports := importNames(s.ast)
		for _, d := range s.ast.Decls {
			for _, w := range writes(d) {
				if imports[w.Name] {
					bad = append(bad, s.complain(w.Pos(), "a variable of package %s is set: pass an option to the one that needs it", w.Name))
				}
				written[w.Name] = true
			}
		}
	}
	for _, s := range files {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				bad = append(bad, s.complain(d.Pos(), "an init function: do it in the constructor, or in TestMain"))
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR || s.test {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				embedded := strings.Contains(comments(g.Doc)+comments(v.Doc), "//go:embed")
				for _, name := range v.Names {
					state := len(v.Values) == 0 || written[name.Name]
					for _, value := range v.Values {
						state = state || hidden.MatchString(types.ExprString(value)) && !sentinel.MatchString(name.Name)
					}
					if state && name.Name != "_" && !embedded {
						bad = append(bad, s.complain(name.Pos(), "package variable %s can change: put it in the struct that uses it", name.Name))
					}
				}
			}
		}
	}
	return bad
}

// writes returns the outermost names that d assigns to, or takes the address of, and does not declare itself.
func writes(d ast.Decl) (names []*ast.Ident) {
	f, ok := d.(*ast.FuncDecl)
	if !ok || f.Body == nil {
		return nil
	}
	local := map[string]bool{}
	add := func(e ast.Expr) {
		if id := root(e); id != nil {
			names = append(names, id)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					local[id.Name] = true
				}
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					local[id.Name] = true
				} else {
					add(e)
				}
			}
		case *ast.IncDecStmt:
			add(n.X)
		case *ast.UnaryExpr:
			if id, ok := n.X.(*ast.Ident); ok && n.Op == token.AND {
				names = append(names, id)
			}
		case *ast.CallExpr:
			if name := callee(n); (name == "delete" || name == "clear") && len(n.Args) > 0 {
				add(n.Args[0])
			}
		}
		return true
	})
	return slices.DeleteFunc(names, func(id *ast.Ident) bool { return local[id.Name] })
}

// root returns the variable under the fields, indices and pointers of e, or nil.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// checkGo wants a go statement only where the same function waits for what it started, as a bubble does by itself, or in Run, which
// owns its goroutines.
func checkGo(files []source) (bad []string) {
	opens := bubbles(files)
	for _, s := range files {
		for _, d := range s.ast.Decls {
			var starts []token.Pos
			waits := funcName(d) == "Run"
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					starts = append(starts, n.Pos())
					return false // what it waits for inside is not its end
				case *ast.UnaryExpr:
					waits = waits || n.Op == token.ARROW
				case *ast.CallExpr:
					waits = waits || strings.HasSuffix(callee(n), ".Wait") || opens[callee(n)]
				}
				return true
			})
			for _, at := range starts {
				if !waits {
					bad = append(bad, s.complain(at, "a goroutine that nobody waits for: start it in Run, or wait for it in this function"))
				}
			}
		}
	}
	return bad
}

func checkLength(files []source) (bad []string) {
	for _, s := range files {
		lines := s.fset.Position(s.ast.FileEnd).Line
		if _, ok := longFiles[s.path]; lines > maxLines && !s.test && !ok {
			bad = append(bad, s.complain(s.ast.FileEnd, "%d lines: give each concept its own file of at most %d", lines, maxLines))
		}
	}
	return bad
}

func funcName(d ast.Decl) string {
	if f, ok := d.(*ast.FuncDecl); ok {
		return f.Name.Name
	}
	return ""
}

// receiver returns the type whose method d is, or "".
func receiver(d ast.Decl) string {
	if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
		if id := root(f.Recv.List[0].Type); id != nil {
			return id.Name
		}
	}
	return ""
}

// callee returns what is called, as far as it is a name: "f", "x.f" or ".f".
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
		return "." + f.Sel.Name
	}
	return ""
}

func isCall(n ast.Node, pkg, name string) bool {
	c, ok := n.(*ast.CallExpr)
	return ok && callee(c) == pkg+"."+name
}

func importNames(f *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		name := strings.TrimPrefix(filepath.Base(path), "go-libp2p-")
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = true
	}
	return names
}

func comments(g *ast.CommentGroup) (text string) {
	if g == nil {
		return ""
	}
	for _, c := range g.List {
		text += c.Text + "\n"
	}
	return text
}

// TestStyleFinds shows that each rule can complain, and that it lets honest code pass.
func TestStyleFinds(t *testing.T) {
	for _, c := range []struct {
		rule, test, code string // of a package; one line may hold BAD, and then the rule must complain of it
	}{
		{rule: "note", code: "// " + "TO" + "DO: later \"BAD\"\n// a TODOLIST"},
		{rule: "sleep", code: "func f() { time.Sleep(1) }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { time.Sleep(1) /* BAD */ }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { \n<-time.After(1) // BAD\n select { case <-time.After(1): } }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1); help() }) }\nfunc help() { time.Sleep(1) }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { synctest.Test(t, deep) }\nfunc deep() { help() }\nfunc help() { time.Sleep(1) }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { synctest.Test(t, help) }\nfunc TestB() { deep() }\nfunc deep() { help() }\nfunc help() { time.Sleep(1) /* BAD */ }"},
		{rule: "sleep", test: "func (c conn) Write() { time.Sleep(1) /* BAD */ }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { use(&conn{}) }) }\nfunc (c *conn) Write() { time.Sleep(1) }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { use(&conn{}) }\nfunc (c *conn) Write() { time.Sleep(1) /* BAD */ }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { bubble(t, func() { time.Sleep(1) }) }\nfunc bubble(t *testing.T, f func()) { synctest.Test(t, func(*testing.T) { f() }) }"},
		{rule: "sleep", test: "func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { (&conn{}).close() }) }\nfunc TestB() { close(c) }\nfunc (c *conn) close() { time.Sleep(1) }"},
		{rule: "errors", code: "func f() bool { return err.Error() == s /* BAD */ }"},
		{rule: "errors", code: "func f() bool { return strings.Contains(err.Error(), s) /* BAD */ }"},
		{rule: "errors", code: "func f() bool { return err == io.EOF /* BAD */ }"},
		{rule: "errors", code: "func f() { switch err { /* BAD */ case io.EOF: } }"},
		{rule: "errors", code: "func f() bool { return err != nil && errors.Is(err, io.EOF) && strings.ToUpper(err.Error()) != s }"},
		{rule: "errors", test: "func f() bool { return strings.Contains(err.Error(), s) }"},
		{rule: "fuzz", code: "func DecodeBlock(b []byte) {} // BAD", test: "func TestDecodeBlock() { DecodeBlock(nil) }"},
		{rule: "fuzz", code: "func DecodeBlock(b []byte) { decodeHeader(b) }\nfunc decodeHeader(b []byte) {}", test: "func FuzzBlock(f *testing.F) { DecodeBlock(nil) }"},
		{rule: "globals", code: "var n int // BAD"},
		{rule: "globals", code: "var m = map[string]int{} // BAD"},
		{rule: "globals", code: "var mu = sync.Mutex{} // BAD"},
		{rule: "globals", code: "var c = make(chan int) // BAD"},
		{rule: "globals", code: "var n = 1 // BAD\nfunc f() { n++ }"},
		{rule: "globals", code: "var t = table{1} // BAD\nfunc f() { t[0].x = 2 }"},
		{rule: "globals", code: "var n = 1 // BAD", test: "func f() { n = 2 }"},
		{rule: "globals", code: "func init() {} // BAD"},
		{rule: "globals", code: "import \"pubsub\"\nfunc f() { pubsub.D = 8 /* BAD */ }"},
		{rule: "globals", code: "var (\n ErrA = errors.New(s)\n re = regexp.MustCompile(s)\n errB = &coded{}\n t = []int{1}\n _ io.Reader = (*T)(nil)\n)\nfunc f(re int) { t := 1; t++; re = 2 }"},
		{rule: "globals", code: "\n//go:embed page.html\nvar page []byte"},
		{rule: "go", code: "func f() { go g() /* BAD */ }"},
		{rule: "go", code: "func f() { go func() { <-c }() /* BAD */ }"},
		{rule: "go", test: "func TestA(t *testing.T) { synctest.Test(t, func(*testing.T) { go g() }) }"},
		{rule: "go", code: "func f() { go g(); wg.Wait() }\nfunc Run() { go g() }\nfunc h() { go g(); <-done }"},
		{rule: "length", code: strings.Repeat("\n", maxLines) + "// BAD"},
		{rule: "length", code: strings.Repeat("\n", maxLines-1), test: strings.Repeat("\n", maxLines)},
	} {
		var files []source
		var want []string
		for name, text := range map[string]string{"a.go": c.code, "a_test.go": c.test} {
			text = "package a; " + text
			s, err := parseSource(name, text)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, s)
			for i, line := range strings.Split(text, "\n") {
				if strings.Contains(line, "BAD") {
					want = append(want, fmt.Sprintf("%s:%d:", name, i+1))
				}
			}
		}
		got := styleRules[c.rule](files)
		if len(got) != len(want) || len(got) == 1 && !strings.HasPrefix(got[0], want[0]) {
			t.Errorf("rule %s on\n%s%s\ngot %q, want %q", c.rule, c.code, c.test, got, want)
		}
	}
}
