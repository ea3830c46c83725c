package saga

import "flag"

// Update has the tests of both packages write their golden files anew.
var Update = flag.Bool("update", false, "rewrite the golden files in testdata from what is made now; review the diff")
