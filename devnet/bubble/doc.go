// Package bubble runs a function in virtual time from the ordinary binary: inside a
// testing/synctest bubble the clock stands still while anything can run and jumps when everything
// waits, so that an hour of a thousand nodes costs what they compute and nothing else.
//
// Rules inside: no real sockets, no channel or timer made outside, no mutex held across anything
// that waits, and every goroutine ends before the function returns. File access is allowed; virtual
// time stands still meanwhile.
package bubble
