package jobs

import "fmt"

// MaxWeight is the largest weight.
const MaxWeight = 1000

// Weight is how many turns the jobs of a name have in a queue for each one of others.
type Weight struct {
	Queue string `json:"queue"`
	// Name is a tenant, or a job's name where jobs have no tenant.
	Name  string `json:"name"`
	Turns int    `json:"turns"`
}

// String says who has how many turns, and how that ends.
func (w Weight) String() string {
	return fmt.Sprintf("queue %s: %s has %s for each one of others; end it with: enqueue queues weigh %s %s=1",
		w.Queue, w.Name, count(w.Turns, "turn", "turns"), w.Queue, w.Name)
}
