// SPDX-License-Identifier: Apache-2.0

// Package lowerdir reads the paths in overlay's mount options.
package lowerdir

import "strings"

// Split takes overlay's lowerdir apart: a colon separates, and a backslash takes the next
// character as it is. The empty directory between two colons, which announces data-only layers,
// stays in the result.
func Split(value string) []string {
	var lowers []string
	start, escaped := 0, false
	for i := 0; i < len(value); i++ {
		switch {
		case escaped:
			escaped = false
		case value[i] == '\\':
			escaped = true
		case value[i] == ':':
			lowers = append(lowers, Unescape(value[start:i]))
			start = i + 1
		}
	}
	return append(lowers, Unescape(value[start:]))
}

// Unescape removes the backslashes that protect the characters behind them.
func Unescape(value string) string {
	var out strings.Builder
	escaped := false
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		out.WriteByte(value[i])
	}
	return out.String()
}
