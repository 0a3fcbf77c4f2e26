package tree

// Before reports whether a walk comes by a before b: a directory before what is in it,
// and names in the order of their bytes.
func Before(a, b string) bool {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/' || b[i] == '/':
			return a[i] == '/'
		default:
			return a[i] < b[i]
		}
	}
	return len(a) < len(b)
}
