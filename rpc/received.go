package rpc

import (
	"context"
	"time"
)

type receivedKey struct{}

// ReceivedAt returns the time at which the last byte of the request that ctx
// belongs to was read, before it was parsed, or the zero time when ctx does not
// come from a request of this package's server.
func ReceivedAt(ctx context.Context) time.Time {
	t, _ := ctx.Value(receivedKey{}).(time.Time)
	return t
}

func withReceived(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, receivedKey{}, t)
}
