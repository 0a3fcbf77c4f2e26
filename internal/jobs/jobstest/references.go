package jobstest

// Reference is a context reference that has to be refused.
type Reference struct {
	Name, Ref string
	// Code is a kind, when a worker finds it, or the code of a problem of the
	// document. Says is a part of the message.
	Code, Says string
}

// ForbiddenAddress is what is said of every address that is not public: no word
// on which of them answers.
const ForbiddenAddress = "leads to an address that contexts may not come from"

// References is the corpus of hostile references. root is a folder that is open
// for file: references, with the links out (to a file outside), above (to a path
// with ..) and dir (to /etc), and the directory sub. The bucket pattern team-* is
// open. It seeds the fuzz targets, and a worker refuses every row.
func References(root string) []Reference {
	return []Reference{
		{"metadata service", "http://169.254.169.254/latest/meta-data/", "url_forbidden_address", ForbiddenAddress},
		{"IPv6 loopback", "http://[::1]:8080/x", "url_forbidden_address", ForbiddenAddress},
		{"address 0", "http://0/x", "url_forbidden_address", ForbiddenAddress},
		{"hexadecimal loopback", "http://0x7f000001/x", "url_forbidden_address", ForbiddenAddress},
		{"short loopback", "http://127.1/x", "url_forbidden_address", ForbiddenAddress},
		{"mapped private address", "http://[::ffff:10.0.0.1]/x", "url_forbidden_address", ForbiddenAddress},
		{"NAT64 of a private address", "http://[64:ff9b::a00:1]/x", "url_forbidden_address", ForbiddenAddress},
		{"name of a loopback", "http://localhost/x", "url_forbidden_address", ForbiddenAddress},
		{"gopher", "gopher://example.com/x", "url_scheme_not_allowed", `scheme "gopher" are not allowed`},
		{"ftp", "ftp://example.com/x", "url_scheme_not_allowed", `scheme "ftp" are not allowed`},
		{"git", "git://example.com/x.git", "url_scheme_not_allowed", `scheme "git" are not allowed`},
		{"data", "data:application/x-tar,x", "url_scheme_not_allowed", `scheme "data" are not allowed`},
		{"no reference", "::", "context_ref_invalid", "want cas:"},
		{"file outside", "file:///etc/shadow", "file_outside_roots", "/etc/shadow"},
		{"link out of the root", "file://" + root + "/out", "file_outside_roots", "/out"},
		{"link above the root", "file://" + root + "/above", "file_outside_roots", "/above"},
		{"link to a directory outside", "file://" + root + "/dir/passwd", "file_outside_roots", "/dir/passwd"},
		{"dots", "file://" + root + "/../../etc/passwd", "file_outside_roots", "passwd"},
		{"escaped dots", "file://" + root + "/%2e%2e/%2e%2e/etc/passwd", "file_outside_roots", "passwd"},
		{"file of another host", "file://host" + root + "/good.tar", "context_ref_invalid", "want file:///absolute/path"},
		{"a directory", "file://" + root + "/sub", "file_not_regular", "is a directory"},
		{"a device", "file:///dev/zero", "file_outside_roots", "/dev/zero"},
		{"no such file", "file://" + root + "/none.tar", "context_not_found", "none.tar"},
		{"user and password", "https://user:pass@example.com/x?X-Amz-Signature=abc", "url_userinfo", "credentials do not belong in a reference"},
		{"bucket of another team", "s3://other/x", "bucket_not_allowed", `"other"`},
		{"bucket above", "s3://team-a/../other/x", "context_ref_invalid", "its key has a part that is empty"},
		{"endpoint in a reference", "s3://team-a/x?endpoint=http://169.254.169.254", "context_ref_invalid", "it takes no parameters, such as endpoint or region"},
		{"no key", "s3://team-a/", "context_ref_invalid", "its key is missing"},
		{"key with a mark", "s3://team-a/a#b", "context_ref_invalid", "%23 for #"},
		{"bucket with a port", "s3://team-a:9000/x", "context_ref_invalid", "endpoint, region and credentials are the operator's to set"},
	}
}
