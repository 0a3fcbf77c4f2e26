package jobs

import "embed"

//go:embed job.schema.json
var schemaFile embed.FS

// Schema is the JSON Schema (draft 2020-12) of the job document. A document that it
// refuses, [DecodeSpec] or [Spec.Validate] refuses, too; these know more.
func Schema() []byte {
	b, err := schemaFile.ReadFile("job.schema.json")
	if err != nil { // the file is part of the program
		panic(err)
	}
	return b
}
