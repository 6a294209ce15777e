package rpc

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func requestOf(body string, headers ...string) string {
	head := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	if len(headers) == 0 || !strings.HasPrefix(headers[0], "Transfer-Encoding") {
		head += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return head + "\r\n" + body
}

// TestKeptConnection: what follows the first call on a connection is served as the first is: several requests
// at once, in chunks, with an Expect header, to be refused, and one that asks to close.
func TestKeptConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		conn := l.dial()
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for _, c := range []struct {
			name, send string
			want       []int
		}{
			{"first", requestOf(chainIDCall), []int{200}},
			{"second", requestOf(chainIDCall), []int{200}},
			{"two at once", requestOf(chainIDCall) + requestOf(chainIDCall), []int{200, 200}},
			{"in chunks", requestOf(strconv.FormatInt(int64(len(chainIDCall)), 16)+"\r\n"+chainIDCall+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), []int{200}},
			{"expected", requestOf(chainIDCall, "Expect: 100-continue"), []int{100, 200}},
			{"foreign", strings.Replace(requestOf(chainIDCall), "localhost", "evil.com", 1), []int{403}},
			{"another method", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{405}},
			{"only the head", "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{405}},
			{"compressed", requestOf(chainIDCall, "Content-Encoding: gzip"), []int{415}},
			{"the last", requestOf(chainIDCall, "Connection: close"), []int{200}},
		} {
			go io.WriteString(conn, c.send)
			for _, want := range c.want {
				method, _, _ := strings.Cut(c.send, " ")
				resp, err := http.ReadResponse(answers, &http.Request{Method: method})
				must(t, err)
				body, err := io.ReadAll(resp.Body)
				must(t, err)
				if resp.StatusCode != want || want == 200 && !strings.Contains(string(body), "0x539") {
					t.Fatalf("%s: %d %s, want %d", c.name, resp.StatusCode, body, want)
				}
			}
		}
		if _, err := answers.ReadByte(); err == nil {
			t.Error("the connection goes on after Connection: close")
		}
		r.stop()
	})
}

// TestKeptConnectionsEnd: slow, silent, oversized and stopped ones, each after a call that was served.
func TestKeptConnectionsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		send  string
		after func(Config) time.Duration
		says  string
	}{
		"silent":       {"", func(c Config) time.Duration { return c.IdleTimeout }, ""},
		"half a head":  {"POST / HTTP/1.1\r\nHost: ", func(c Config) time.Duration { return c.HeaderTimeout }, ""},
		"half a body":  {requestOf(chainIDCall)[:140], func(c Config) time.Duration { return c.ReadTimeout }, ""}, // and the time to answer is over too
		"long headers": {requestOf(chainIDCall, "X: "+strings.Repeat("x", 17<<10)), func(Config) time.Duration { return 0 }, "431"},
		"no HTTP":      {"hello\r\n\r\n", func(Config) time.Duration { return 0 }, "400"},
		"stopped":      {"", func(Config) time.Duration { return 0 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, Config{})
				l := newPipeListener()
				r.run(l)
				conn := l.dial()
				defer conn.Close()
				go io.WriteString(conn, requestOf(chainIDCall))
				answers := bufio.NewReader(conn)
				resp, err := http.ReadResponse(answers, nil)
				must(t, err)
				_, err = io.ReadAll(resp.Body)
				must(t, err)
				began := time.Now()
				go io.WriteString(conn, c.send)
				if name == "stopped" {
					go r.stop()
				}
				rest, _ := io.ReadAll(answers)
				if took, want := time.Since(began), c.after(r.s.cfg); took != want || !strings.Contains(string(rest), c.says) {
					t.Errorf("ended after %v with %q, want %v and %q", took, rest, want, c.says)
				}
				r.stop()
			})
		})
	}
}

// TestKeptConnectionBecomesWebSocket: a client may call first and upgrade then.
func TestKeptConnectionBecomesWebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := newPipeListener()
		r.run(l)
		conn := l.dial()
		go io.WriteString(conn, requestOf(chainIDCall))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		_, err = io.ReadAll(resp.Body)
		must(t, err)
		same := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return conn, nil }}
		ws, _, err := same.Dial("ws://localhost/", nil)
		must(t, err)
		must(t, ws.WriteMessage(websocket.TextMessage, []byte(chainIDCall)))
		if _, answer, err := ws.ReadMessage(); err != nil || !strings.Contains(string(answer), "0x539") {
			t.Errorf("%s, %v", answer, err)
		}
		must(t, ws.Close())
		r.stop()
	})
}
