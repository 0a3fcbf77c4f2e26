package faults

import (
	"context"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Records wraps the producers' side of the store.
func Records(r jobs.Records, at At) jobs.Records { return records{r, at} }

type records struct {
	jobs.Records
	at At
}

func (r records) Create(ctx context.Context, batch []jobs.Job) ([]bool, error) {
	name := first(batch, func(j jobs.Job) string { return j.ID })
	return around(ctx, r.at, Call{Name: "create records", Job: name}, func() ([]bool, error) { return r.Records.Create(ctx, batch) })
}

func (r records) Get(ctx context.Context, id string) (jobs.Job, error) {
	return around(ctx, r.at, Call{Name: "get", Job: id}, func() (jobs.Job, error) { return r.Records.Get(ctx, id) })
}

func (r records) GetAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	name := first(ids, func(id string) string { return id })
	return around(ctx, r.at, Call{Name: "get", Job: name}, func() ([]jobs.Job, error) { return r.Records.GetAll(ctx, ids) })
}

func (r records) Cancel(ctx context.Context, id, by string) (jobs.Job, error) {
	return around(ctx, r.at, Call{Name: "cancel", Job: id}, func() (jobs.Job, error) { return r.Records.Cancel(ctx, id, by) })
}

func (r records) Reserve(ctx context.Context, key, id, digest string) (string, string, error) {
	type bound struct{ id, digest string }
	b, err := around(ctx, r.at, Call{Name: "reserve", Job: id}, func() (b bound, err error) {
		b.id, b.digest, err = r.Records.Reserve(ctx, key, id, digest)
		return b, err
	})
	return b.id, b.digest, err
}

// Claims wraps the owners' side of the store.
func Claims(c jobs.Claims, at At) jobs.Claims { return claims{c, at} }

type claims struct {
	jobs.Claims
	at At
}

func (c claims) Claim(ctx context.Context, t jobs.Ticket, o jobs.Owner) (jobs.Job, error) {
	return around(ctx, c.at, Call{Name: "claim", Job: t.ID}, func() (jobs.Job, error) { return c.Claims.Claim(ctx, t, o) })
}

func (c claims) Adopt(ctx context.Context, id string, o jobs.Owner) (jobs.Job, error) {
	return around(ctx, c.at, Call{Name: "adopt", Job: id}, func() (jobs.Job, error) { return c.Claims.Adopt(ctx, id, o) })
}

func (c claims) Renew(ctx context.Context, id, nonce string, lease time.Duration) (jobs.Signal, error) {
	return around(ctx, c.at, Call{Name: "renew", Job: id}, func() (jobs.Signal, error) { return c.Claims.Renew(ctx, id, nonce, lease) })
}

func (c claims) Note(ctx context.Context, id, nonce string, p jobs.Progress) error {
	return do(ctx, c.at, Call{Name: "note", Job: id}, func() error { return c.Claims.Note(ctx, id, nonce, p) })
}

func (c claims) Finish(ctx context.Context, id, nonce string, r jobs.Result) error {
	return do(ctx, c.at, Call{Name: "finish", Job: id}, func() error { return c.Claims.Finish(ctx, id, nonce, r) })
}

func (c claims) Release(ctx context.Context, id, nonce string, r jobs.Release) (jobs.Ticket, error) {
	return around(ctx, c.at, Call{Name: "release", Job: id}, func() (jobs.Ticket, error) { return c.Claims.Release(ctx, id, nonce, r) })
}

func (c claims) Reissue(ctx context.Context, id string, delay time.Duration) (jobs.Ticket, error) {
	return around(ctx, c.at, Call{Name: "reissue", Job: id}, func() (jobs.Ticket, error) { return c.Claims.Reissue(ctx, id, delay) })
}

func (c claims) AppendLog(ctx context.Context, id, nonce string, chunk jobs.LogChunk) error {
	return do(ctx, c.at, Call{Name: "appendlog", Job: id}, func() error { return c.Claims.AppendLog(ctx, id, nonce, chunk) })
}

func (c claims) Now(ctx context.Context) (time.Time, error) {
	return around(ctx, c.at, Call{Name: "now"}, func() (time.Time, error) { return c.Claims.Now(ctx) })
}

func (c claims) Owned(ctx context.Context, host string) ([]jobs.Job, error) {
	return around(ctx, c.at, Call{Name: "owned"}, func() ([]jobs.Job, error) { return c.Claims.Owned(ctx, host) })
}

func (c claims) Kept(ctx context.Context, host string, known ...string) ([]jobs.Job, error) {
	return around(ctx, c.at, Call{Name: "kept"}, func() ([]jobs.Job, error) { return c.Claims.Kept(ctx, host, known...) })
}

func (c claims) EndService(ctx context.Context, id, nonce string, e jobs.ServiceEnd) error {
	return do(ctx, c.at, Call{Name: "endservice", Job: id}, func() error { return c.Claims.EndService(ctx, id, nonce, e) })
}

// Orders wraps the orders for hosts, as workers read them.
func Orders(o jobs.Orders, at At) jobs.Orders { return orders{o, at} }

type orders struct {
	jobs.Orders
	at At
}

func (o orders) OrderOf(ctx context.Context, host string) (jobs.HostOrder, error) {
	return around(ctx, o.at, Call{Name: "orderof"}, func() (jobs.HostOrder, error) { return o.Orders.OrderOf(ctx, host) })
}

// Seats wraps the seats of hosts.
func Seats(s jobs.Seats, at At) jobs.Seats { return seats{s, at} }

type seats struct {
	jobs.Seats
	at At
}

func (s seats) Seat(ctx context.Context, host string) (seat jobs.Seat, now time.Time, err error) {
	seat, err = around(ctx, s.at, Call{Name: "seat"}, func() (seat jobs.Seat, err error) {
		seat, now, err = s.Seats.Seat(ctx, host)
		return seat, err
	})
	return seat, now, err
}

func (s seats) TakeSeat(ctx context.Context, seat jobs.Seat, from string) (jobs.Seat, error) {
	return around(ctx, s.at, Call{Name: "takeseat"}, func() (jobs.Seat, error) { return s.Seats.TakeSeat(ctx, seat, from) })
}

func (s seats) KeepSeat(ctx context.Context, host, nonce string) (jobs.Seat, error) {
	return around(ctx, s.at, Call{Name: "keepseat"}, func() (jobs.Seat, error) { return s.Seats.KeepSeat(ctx, host, nonce) })
}

func (s seats) LeaveSeat(ctx context.Context, host, nonce string) error {
	return do(ctx, s.at, Call{Name: "leaveseat"}, func() error { return s.Seats.LeaveSeat(ctx, host, nonce) })
}

func (s seats) CallHost(ctx context.Context, host string) error {
	return do(ctx, s.at, Call{Name: "callhost"}, func() error { return s.Seats.CallHost(ctx, host) })
}

// Artifacts wraps the artifact store.
func Artifacts(s artifacts.Store, at At) artifacts.Store { return blobs{s, at} }

type blobs struct {
	artifacts.Store
	at At
}

func (b blobs) In(p artifacts.Place) artifacts.Store { return blobs{b.Store.In(p), b.at} }

func (b blobs) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	return around(ctx, b.at, Call{Name: "stat"}, func() (artifacts.Info, error) { return b.Store.Stat(ctx, digest) })
}

func (b blobs) Put(ctx context.Context, blob artifacts.Blob, data io.ReadSeeker) (bool, error) {
	return around(ctx, b.at, Call{Name: "put"}, func() (bool, error) { return b.Store.Put(ctx, blob, data) })
}
