// Asynq-producer submits a job from a program that knows asynq and nothing of
// the farm: it pushes {id, spec} as a task, and a worker makes the job's record
// when it takes it. docs/producers.md tells what asynq's options mean to the job.
//
//	go run ./examples/asynq-producer job-1 examples/run-only.json
//	enqueue wait job-1
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/hibiken/asynq"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: asynq-producer JOB-ID JOB.json")
	}
	if err := submit(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func submit(id, file string) error {
	spec, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// The ID is yours: a-z, 0-9 and -, at most 64 bytes. Once is once: a second
	// task of the same ID finds the job there.
	payload, err := json.Marshal(map[string]any{"id": id, "spec": json.RawMessage(spec)})
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	url := os.Getenv("SLIPWAY_REDIS")
	if url == "" {
		url = "redis://127.0.0.1:6379/0"
	}
	redis, err := asynq.ParseRedisURI(url)
	if err != nil {
		return err
	}
	client := asynq.NewClient(redis)
	defer client.Close()
	// The asynq queue has the name of the job's queue. asynq.TaskID makes asynq
	// itself drop a second push while the first one waits.
	_, err = client.Enqueue(asynq.NewTask("slipway:job", payload), asynq.Queue("builds"), asynq.TaskID(id))
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("enqueue job %s: %w", id, err)
	}
	fmt.Println("submitted", id)
	return nil
}
