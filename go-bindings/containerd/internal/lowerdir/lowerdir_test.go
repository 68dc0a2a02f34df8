// SPDX-License-Identifier: Apache-2.0

package lowerdir

import (
	"slices"
	"testing"
)

func TestSplitReadsLowerdirAsTheKernelDoes(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        []string
	}{
		{"one", "/a", []string{"/a"}},
		{"two", "/a:/b", []string{"/a", "/b"}},
		{"a colon in a name", `/a\:b:/c`, []string{"/a:b", "/c"}},
		{"a backslash in a name", `/a\\:/b`, []string{`/a\`, "/b"}},
		{"data-only layers", "/a::/b", []string{"/a", "", "/b"}},
		{"nothing", "", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Split(c.value); !slices.Equal(got, c.want) {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}
