package rpc

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// guard decides by the Host and Origin headers whether a browser may have been led
// here by a foreign page (DNS rebinding, cross-site requests). Programs that are not
// browsers send what they like; for them it is no barrier and need not be.
type guard struct {
	hosts, origins []string // lower case
}

func newGuard(hosts, origins []string) (guard, error) {
	var g guard
	for _, h := range hosts {
		g.hosts = append(g.hosts, strings.ToLower(h))
	}
	for _, o := range origins {
		o = strings.TrimSuffix(strings.ToLower(o), "/")
		if u, err := url.Parse(o); o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "") {
			return g, fmt.Errorf("rpc config: %q is not an origin: write it as https://app.example.org", o)
		}
		g.origins = append(g.origins, o)
	}
	return g, nil
}

// check returns what to tell a request that must not pass, or "".
func (g guard) check(r *http.Request) string {
	if host := hostname(r.Host); !g.allowsHost(host) {
		return fmt.Sprintf("host %q is not allowed: use an IP address or localhost, or add it to hosts in [rpc] of the node's --config file", host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && !g.allowsOrigin(origin, r.Host) {
		return fmt.Sprintf("origin %q is not allowed: add it to origins in [rpc] of the node's --config file", origin)
	}
	return ""
}

func (g guard) allowsHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" || host == "" {
		return true
	}
	return slices.Contains(g.hosts, "*") || slices.Contains(g.hosts, host)
}

func (g guard) allowsOrigin(origin, host string) bool {
	origin = strings.ToLower(origin)
	if slices.Contains(g.origins, "*") || slices.Contains(g.origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host == strings.ToLower(host) // a page this node serves
	case "chrome-extension", "moz-extension", "safari-web-extension":
		return true // a wallet the user installed; no web page can have such an origin
	}
	return false
}

// hostname returns the name or address in a Host header, lower case, without port,
// brackets and zone.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	host, _, _ = strings.Cut(host, "%")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
