// SPDX-License-Identifier: Apache-2.0

// Package ocilayer applies OCI image layers to directories.
//
// [Unpack] reads a layer, compressed with gzip or zstd or not at all, and applies it to a plain
// root file system or to an upper directory of overlayfs. A layer is not trusted: nothing outside
// of the directory is touched, whatever it asks for. [Scan] tells what is in a layer without writing
// anything. [CheckOverlayOpaquePropagation] tells whether the running kernel copies the mark of an
// opaque directory to upper layers, [Audit] what such a kernel did to unpacked layers, and repairs it.
//
// The work is done by libocilayer, a native library. By default it is found by pkg-config and
// linked as a shared library; the build tag ocilayer_static links libocilayer.a instead. Without
// cgo, and on systems other than Linux, the package compiles and every call returns
// [errors.ErrUnsupported].
//
// All functions may be called by any number of goroutines at once.
package ocilayer
