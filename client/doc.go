// Package client uses a farm over HTTP: it builds tars, submits jobs, waits for them, follows
// their logs and reads what they left. Programs outside this module import it; it needs
// nothing but the standard library.
//
//	c := client.New("https://farm.example.com", os.Getenv("SLIPWAY_TOKEN"))
//	job, err := c.Build(ctx, tar, client.Options{Parameters: url.Values{"tag": {"app:1"}, "run": {"true"}}})
//	...
//	job, err = c.Follow(ctx, job.ID, "", func(e client.Entry) { os.Stdout.Write(e.Bytes()) })
//
// A call tries again when the connection breaks, if doing it twice does what doing it once
// does: it reads, or it bears a key by which the server knows that it has done it. Answers 429
// and 503 are tried again after the time that they ask for. What the server refuses is a
// [*Problem].
package client
