// Http-go builds a tar on a farm and runs the image, from a program that has neither Redis nor
// the artifact store: it follows the log, and copies a file that the run left.
//
//	export SLIPWAY_SERVER=https://farm.example.com SLIPWAY_TOKEN=...
//	tar -C app -c . | go run ./examples/http-go app:1 /out/report.txt >report.txt
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/signal"

	"github.com/slipway-farm/slipway/client"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: http-go TAG OUTPUT <TAR >FILE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := client.New(os.Getenv("SLIPWAY_SERVER"), os.Getenv("SLIPWAY_TOKEN"))
	if err := build(ctx, c, os.Args[1], os.Args[2], os.Stdin, os.Stdout, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

// build builds a tar, runs the image and copies an output of the run.
func build(ctx context.Context, c *client.Client, tag, output string, tar io.Reader, file, logs io.Writer) error {
	job, err := c.Build(ctx, tar, client.Options{
		Document:   client.Document{Name: "http-go"},
		Parameters: url.Values{"tag": {tag}, "run": {"true"}, "output-path": {output}},
	})
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Fault == client.UserFault {
		return fmt.Errorf("the farm does not take this: %w", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(logs, "job", job.ID)
	job, err = c.Follow(ctx, job.ID, "", func(e client.Entry) { _, _ = logs.Write(e.Bytes()) })
	if err == nil {
		err = job.Err()
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(logs, "image", job.Result.ImageID)
	out, err := c.Output(ctx, job.ID, output)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(file, out); err != nil {
		return fmt.Errorf("copy %s: %w", output, err)
	}
	return nil
}
