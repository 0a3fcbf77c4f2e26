// Hello-web is a web server to build and to keep running as a job.
package main

import (
	"fmt"
	"log"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Hello, Docker!")
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
