package report

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/recorder"
)

type rgb [3]float64 // linear light, 0 to 1

var property = regexp.MustCompile(`--([a-z0-9]+): (#[0-9a-f]{3,6});`)

// schemes are the custom properties of the page in light and in dark.
func schemes(t *testing.T) map[string]map[string]rgb {
	t.Helper()
	light, rest, ok := strings.Cut(pageStyle, "@media (prefers-color-scheme: dark)")
	dark, _, end := strings.Cut(rest, "\n}")
	if !ok || !end {
		t.Fatal("page.css has no dark scheme")
	}
	out := map[string]map[string]rgb{}
	for name, text := range map[string]string{"light": light, "dark": dark} {
		out[name] = map[string]rgb{}
		for _, m := range property.FindAllStringSubmatch(text, -1) {
			out[name][m[1]] = parseColour(t, m[2])
		}
	}
	if len(out["light"]) != len(out["dark"]) || len(out["light"]) < 20 {
		t.Fatalf("%d colours in light and %d in dark: want the same, at least 20", len(out["light"]), len(out["dark"]))
	}
	return out
}

func parseColour(t *testing.T, hex string) (c rgb) {
	t.Helper()
	v, err := strconv.ParseUint(hex[1:], 16, 32)
	if err != nil || len(hex) != 7 {
		t.Fatalf("%q is no colour of six digits", hex)
	}
	for i := range c {
		s := float64(v>>(16-8*i)&255) / 255
		if c[i] = s / 12.92; s > 0.04045 {
			c[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return c
}

// contrast is that of WCAG 2.
func contrast(a, b rgb) float64 {
	light := func(c rgb) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] + 0.05 }
	return max(light(a), light(b)) / min(light(a), light(b))
}

// Text must be readable: 4.5 to 1 on its ground. What is drawn must stand out: 3 to 1, but for the
// two greys of what matters least.
func TestContrast(t *testing.T) {
	for name, c := range schemes(t) {
		for _, pair := range []string{
			"ink paper", "soft paper", "faint paper", "faint panel", "bad paper", "bad panel", "good paper", "blue paper", "ink panel", "warnink warnbg",
		} {
			text, ground, _ := strings.Cut(pair, " ")
			if got := contrast(c[text], c[ground]); got < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want 4.5", name, text, ground, got)
			}
		}
		for _, drawn := range []string{"blue", "orange", "purple", "rose", "navy", "bad", "ink", "slate", "h2", "h3", "h4", "h5"} {
			if got := contrast(c[drawn], c["paper"]); got < 3 {
				t.Errorf("%s: %s on paper has a contrast of %.2f, want 3", name, drawn, got)
			}
		}
	}
}

// The sights are how colours look: to most, and without red or green cones (Machado, Oliveira and
// Fernandes, 2009).
var sights = map[string][3]rgb{
	"full":   {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protan": {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deutan": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
}

// lab is CIE L*a*b*, in which distances are about what an eye sees.
func lab(c rgb) (out [3]float64) {
	f := func(v float64) float64 {
		if v > 0.008856 {
			return math.Cbrt(v)
		}
		return 7.787*v + 16.0/116
	}
	x := f((0.4124*c[0] + 0.3576*c[1] + 0.1805*c[2]) / 0.9505)
	y := f(0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2])
	z := f((0.0193*c[0] + 0.1192*c[1] + 0.9505*c[2]) / 1.089)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

// Neighbours in a stack and curves of one chart must be told apart with and without red-green
// blindness.
func TestColoursCanBeToldApart(t *testing.T) {
	const least = 18 // of CIE76; 2.3 is just noticeable
	variables := map[string]string{}
	for _, m := range regexp.MustCompile(`\.([skch][0-9]|o2) \{ (?:stroke|fill): var\(--([a-z0-9]+)\)`).FindAllStringSubmatch(pageStyle, -1) {
		variables[m[1]] = m[2]
	}
	for scheme, colours := range schemes(t) {
		for sight, matrix := range sights {
			seen := func(class string) [3]float64 {
				c, ok := colours[variables[class]]
				if !ok {
					t.Fatalf("class %s has no colour in %s", class, scheme)
				}
				var out rgb
				for i, row := range matrix {
					out[i] = max(0, row[0]*c[0]+row[1]*c[1]+row[2]*c[2])
				}
				return lab(out)
			}
			for _, stack := range []string{"s1 s2 s3 s4 s5 s0", "k1 k2 k3 k4 k5 k6 k7 k8", "h1 h2 h3 h4 h5", "c1 c2", "c1 o2", "c2 o2", "c1 c4"} {
				classes := strings.Fields(stack)
				for i := range classes[1:] {
					a, b := seen(classes[i]), seen(classes[i+1])
					if d := math.Sqrt(math.Pow(a[0]-b[0], 2) + math.Pow(a[1]-b[1], 2) + math.Pow(a[2]-b[2], 2)); d < least {
						t.Errorf("%s, %s: %s beside %s are %.1f apart, want %d", scheme, sight, classes[i], classes[i+1], d, least)
					}
				}
			}
		}
	}
}

// Every colour class that a chart uses has its colour.
func TestClassesHaveColours(t *testing.T) {
	r, _ := syntheticResults(t, 8, 9)
	p, err := pageOf(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sections {
		for _, e := range s.Exhibits {
			for _, m := range regexp.MustCompile(`class="([^"]+)"`).FindAllStringSubmatch(string(e.Chart), -1) {
				for _, class := range strings.Fields(m[1]) {
					if !strings.Contains(pageStyle, "."+class) && class != "fill" {
						t.Errorf("%s: class %q is not in page.css", e.Title, class)
					}
				}
			}
		}
	}
	for k := range recorder.NumKinds {
		if !strings.Contains(pageStyle, "."+kindClass(k)+" {") {
			t.Errorf("%s has no colour in page.css", k)
		}
	}
	for s := range recorder.NumStages {
		if !strings.Contains(pageStyle, "."+stageClass(s)+" {") {
			t.Errorf("%s has no colour in page.css", s)
		}
	}
	if got := len(p.Sections); got < 6 {
		t.Errorf("%d sections were looked at, want most", got)
	}
}
