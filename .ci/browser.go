//go:build ignore

// Command browser opens report pages in a headless Chromium as readers do, on a phone and on a desk, in light and in dark, and fails
// unless each is drawn, fits the width, holds the figures of the run's table, keeps the console and the network silent, and prints:
//
//	go run .ci/browser.go CHROMIUM FOLDER_FOR_SCREENSHOTS report.html...
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pheme-net/pheme/devnet/report"
)

const (
	maxPage = 500_000 // bytes of a report
	maxWait = 2 * time.Minute
)

func main() {
	if len(os.Args) < 4 {
		fail("usage: browser CHROMIUM FOLDER REPORT.html...")
	}
	b := start(os.Args[1])
	defer b.stop()
	for i, page := range os.Args[3:] {
		check(b, page, filepath.Join(os.Args[2], fmt.Sprintf("page-%d", i+1)))
	}
}

// check looks at one page in every way.
func check(b *browser, page, shots string) {
	path, err := filepath.Abs(page)
	must(err)
	info, err := os.Stat(path)
	must(err)
	if info.Size() >= maxPage {
		fail("%s has %d bytes: it must stay below %d", page, info.Size(), maxPage)
	}
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for b.eval("document.readyState") != "complete" {
		time.Sleep(20 * time.Millisecond)
	}
	figures := wanted(path)
	text := b.eval("document.body.textContent")
	for _, f := range figures {
		if !strings.Contains(text, f) {
			fail("%s does not show %q, which the table of the run does", page, f)
		}
	}
	for _, width := range []int{390, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			b.view(width, scheme)
			for _, details := range []string{"false", "true"} { // tables closed and open
				b.eval("document.querySelectorAll('details').forEach(d => d.open = " + details + "); ''")
				if got := b.eval("String(document.documentElement.scrollWidth)"); got != fmt.Sprint(width) {
					fail("%s is %s pixels wide on a screen of %d (tables open: %s): it would scroll sideways", page, got, width, details)
				}
			}
			b.eval("document.querySelectorAll('details').forEach(d => d.open = false); ''")
			shot := fmt.Sprintf("%s-%d-%s.png", shots, width, scheme)
			must(os.WriteFile(shot, b.shot(width), 0o644))
			drawn(shot, scheme == "dark")
		}
	}
	if pdf := b.bytes("Page.printToPDF", nil); !bytes.HasPrefix(pdf, []byte("%PDF")) || len(pdf) < 10_000 {
		fail("%s does not print: %d bytes", page, len(pdf))
	}
	if len(b.said) > 0 {
		fail("%s wrote to the console or asked the network, and should do neither:\n%s", page, strings.Join(b.said, "\n"))
	}
	fmt.Printf("%s: %d bytes, %d figures found, fits 390 and 1280 pixels in light and dark, prints\n", page, info.Size(), len(figures))
}

// figure is a number with its unit in a table on the terminal.
var figure = regexp.MustCompile(`[0-9.]+(?: (?:ms|s|%|(?:[KMG]i)?B)|x)`)

// wanted are the figures of the table that goes with the page: of the results beside it.
func wanted(page string) []string {
	var b strings.Builder
	if r, err := report.ReadResults(filepath.Dir(page)); err == nil {
		must(report.Table(&b, r))
	} else {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(page), report.SweepResultsFile))
		must(err)
		var s report.Sweep
		must(json.Unmarshal(text, &s))
		must(report.SweepTable(&b, &s))
	}
	figures := figure.FindAllString(b.String(), -1)
	if len(figures) < 10 {
		fail("%s: only %d figures in the table that goes with it: %q", page, len(figures), figures)
	}
	return figures
}

// drawn fails unless a screenshot shows a page on a light or a dark ground.
func drawn(path string, dark bool) {
	f, err := os.Open(path)
	must(err)
	defer f.Close()
	img, err := png.Decode(f)
	must(err)
	ground, ink, colours := look(img)
	if dark != (ground < 128) {
		fail("%s: the page's ground has lightness %d of 255: the colour scheme asked for is not honoured", path, ground)
	}
	// A page of tables and curves inks a few per cent, smoothed into many shades; a blank one or an error page does not.
	if ink < 0.02 || colours < 50 {
		fail("%s: the page is almost empty: ink %.1f %%, %d colours", path, 100*ink, colours)
	}
}

// look returns the lightness of the commonest colour, the share of pixels in another one, and the number of colours.
func look(img image.Image) (ground int, ink float64, colours int) {
	count := map[[3]uint32]int{}
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			count[[3]uint32{r >> 8, g >> 8, b >> 8}]++
		}
	}
	most := 0
	for c, n := range count {
		if n > most {
			most, ground = n, int(c[0]+c[1]+c[2])/3
		}
	}
	return ground, 1 - float64(most)/float64(b.Dx()*b.Dy()), len(count)
}

// browser is a Chromium spoken to by the DevTools protocol over a pair of pipes, one JSON message before each zero byte.
type browser struct {
	cmd     *exec.Cmd
	dir     string
	to      *os.File
	from    *bufio.Reader
	session string
	last    int
	said    []string // what the page wrote to the console or asked the network for
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	Session string `json:"sessionId,omitempty"`
}

func start(path string) *browser {
	dir, err := os.MkdirTemp("", "browser-")
	must(err)
	theirIn, to, err := os.Pipe()
	must(err)
	from, theirOut, err := os.Pipe()
	must(err)
	b := &browser{dir: dir, to: to, from: bufio.NewReaderSize(from, 1<<20)}
	b.cmd = exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
		"--user-data-dir="+dir, "--remote-debugging-pipe", "about:blank")
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4
	must(b.cmd.Start())
	theirIn.Close()
	theirOut.Close()
	cleanup = func() {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	time.AfterFunc(maxWait, func() { fail("no end within %v", maxWait) })
	var made struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &made)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

func (b *browser) stop() {
	b.session = ""
	b.call("Browser.close", nil, nil)
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.dir)
}

// call sends one command and reads until its answer, keeping what the page says meanwhile.
func (b *browser) call(method string, params, result any) {
	b.last++
	if params == nil {
		params = struct{}{}
	}
	raw, err := json.Marshal(params)
	must(err)
	text, err := json.Marshal(message{ID: b.last, Method: method, Params: raw, Session: b.session})
	must(err)
	_, err = b.to.Write(append(text, 0))
	must(err)
	for {
		text, err := b.from.ReadBytes(0)
		if err != nil {
			fail("the browser ended while %s was asked: %v", method, err)
		}
		var m message
		must(json.Unmarshal(text[:len(text)-1], &m))
		switch {
		case m.ID == b.last && m.Error != nil:
			fail("%s: %s", method, m.Error.Message)
		case m.ID == b.last:
			if result != nil {
				must(json.Unmarshal(m.Result, result))
			}
			return
		default:
			b.note(m)
		}
	}
}

// note keeps events that a page without scripts and network never causes.
func (b *browser) note(m message) {
	switch m.Method {
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
		b.said = append(b.said, m.Method+" "+string(m.Params))
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		must(json.Unmarshal(m.Params, &p))
		if !strings.HasPrefix(p.Request.URL, "file:") && !strings.HasPrefix(p.Request.URL, "data:") {
			b.said = append(b.said, "request for "+p.Request.URL)
		}
	}
}

// eval is the string an expression comes to.
func (b *browser) eval(expression string) string {
	var out struct {
		Result           struct{ Value string }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &out)
	if out.ExceptionDetails != nil {
		fail("%s: %s", expression, out.ExceptionDetails)
	}
	return out.Result.Value
}

// view sets the width of the screen and the colour scheme.
func (b *browser) view(width int, scheme string) {
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// shot is the whole page as PNG.
func (b *browser) shot(width int) []byte {
	var size struct {
		CSSContentSize struct{ Height float64 } `json:"cssContentSize"`
	}
	b.call("Page.getLayoutMetrics", nil, &size)
	return b.bytes("Page.captureScreenshot", map[string]any{
		"captureBeyondViewport": true, "clip": map[string]any{"x": 0, "y": 0, "width": width, "height": min(size.CSSContentSize.Height, 16_000), "scale": 1},
	})
}

// bytes is the data that a command returns.
func (b *browser) bytes(method string, params any) []byte {
	var out struct{ Data string }
	b.call(method, params, &out)
	raw, err := base64.StdEncoding.DecodeString(out.Data)
	must(err)
	return raw
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// cleanup is what fail leaves to do: end the browser and remove its folder.
var cleanup = func() {}

func fail(format string, args ...any) {
	cleanup()
	fmt.Fprintf(os.Stderr, "browser: "+format+"\n", args...)
	os.Exit(1)
}
