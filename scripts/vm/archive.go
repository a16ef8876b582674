// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// archiveWriter writes an initramfs: a cpio archive of the kind "newc", as in
// the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. It
// is not compressed: unpacking costs more in an emulator than reading.
type archiveWriter struct {
	w     *bufio.Writer
	err   error
	inode int
	dirs  map[string]bool // written already
}

func newArchiveWriter(w io.Writer) *archiveWriter {
	return &archiveWriter{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true}}
}

// entry writes one entry; name has no leading slash.
func (a *archiveWriter) entry(name string, mode uint32, size int64, body io.Reader) {
	if a.err != nil {
		return
	}
	a.inode++
	const magic = "070701"
	fmt.Fprint(a.w, magic)
	fields := []int64{int64(a.inode), int64(mode), 0, 0, 1, 0, size, 0, 0, 0, 0, int64(len(name) + 1), 0}
	for _, f := range fields {
		fmt.Fprintf(a.w, "%08x", f)
	}
	fmt.Fprint(a.w, name, "\x00")
	a.pad(int64(len(magic) + 8*len(fields) + len(name) + 1))
	n, err := io.Copy(a.w, body)
	if err == nil && n != size {
		err = fmt.Errorf("%s has %d bytes, not the %d it had", name, n, size)
	}
	a.err = err
	a.pad(size)
}

// pad fills up to a multiple of four after n bytes.
func (a *archiveWriter) pad(n int64) {
	for ; n%4 != 0; n++ {
		a.w.WriteByte(0)
	}
}

// dir adds a directory, and those above it.
func (a *archiveWriter) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dirs[name] = true
	a.dir(path.Dir(name))
	a.entry(name, 0o040755, 0, strings.NewReader(""))
}

// text adds a file with the given content.
func (a *archiveWriter) text(name, content string) {
	a.dir(path.Dir(name))
	a.entry(name, 0o100644, int64(len(content)), strings.NewReader(content))
}

// link adds a symbolic link.
func (a *archiveWriter) link(name, target string) {
	a.dir(path.Dir(name))
	a.entry(name, 0o120777, int64(len(target)), strings.NewReader(target))
}

// file adds a file of the host.
func (a *archiveWriter) file(name, host string) {
	if a.err != nil {
		return
	}
	a.dir(path.Dir(name))
	f, err := os.Open(host)
	if err != nil {
		a.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		a.err = err
		return
	}
	a.entry(name, 0o100000|uint32(info.Mode().Perm()), info.Size(), f)
}

// tree adds the files below a directory of the host, but those that skip names.
func (a *archiveWriter) tree(name, host string, skip func(rel string) bool) {
	err := filepath.WalkDir(host, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, file)
		switch {
		case err != nil:
			return err
		case skip(rel) && d.IsDir():
			return fs.SkipDir
		case d.IsDir():
			a.dir(path.Join(name, rel))
		case d.Type().IsRegular() && !skip(rel):
			a.file(path.Join(name, rel), file)
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

// close ends the archive and returns the first error of all.
func (a *archiveWriter) close() error {
	a.entry("TRAILER!!!", 0, 0, strings.NewReader(""))
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
