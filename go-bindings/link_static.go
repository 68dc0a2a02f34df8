// SPDX-License-Identifier: Apache-2.0

//go:build linux && ocilayer_static

package ocilayer

// The archive stands before -locilayer, and so the shared library, if it is there at all, has
// nothing left to give.
//
// #cgo LDFLAGS: -Wl,--as-needed -l:libocilayer.a
// #cgo pkg-config: --static ocilayer
import "C"
