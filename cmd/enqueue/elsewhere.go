package main

// elsewhere says where what other tools call so is, for words that are no verbs here; "" for
// other words.
func elsewhere(verb string) string {
	switch verb {
	case "build":
		return "enqueue submit -t NAME DIRECTORY builds"
	case "run":
		return "enqueue submit --image IMAGE -- COMMAND runs; after a build, submit --run"
	case "batch":
		return "enqueue submit --batch FILE submits many jobs; enqueue rebuild builds all that stands on a base"
	case "kill", "stop", "delete":
		return "enqueue cancel ID ends a job, or the service that it keeps"
	case "rm", "prune", "rmi":
		return "nothing is to be removed by hand: jobs are forgotten, and images go, by the operator's settings (worker --retention-age, --image-age)"
	case "exec", "attach", "cp", "port-forward":
		return "nothing gets into the farm's containers from here; enqueue logs -f ID shows what they print, outputs ID what they leave, ls --up where services answer"
	case "top", "stats":
		return "enqueue hosts shows what runs where, enqueue ls --watch the jobs, enqueue queues ls what waits"
	case "workers", "nodes", "agents", "info":
		return "enqueue hosts lists the workers' hosts"
	case "doctor", "drain", "dev":
		return "worker " + verb + " does it, on a build host; enqueue hosts drain WORKER does from anywhere"
	case "inspect", "describe", "get":
		return "enqueue status ID shows a job, show ID its document; -o json has all"
	case "history":
		return "enqueue ls lists jobs, recipes show NAME what is known of a recipe"
	case "events":
		return "enqueue status ID has the events of a job"
	case "push", "tag", "pull":
		return "enqueue submit -t NAME --push DIRECTORY builds and pushes"
	case "login":
		return "enqueue context create NAME keeps the address and token of a server"
	}
	return ""
}
