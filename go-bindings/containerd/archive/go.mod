// A module of its own, so that a fork of any containerd gets no other dependency with it.
module github.com/ocilayer/ocilayer/go-bindings/containerd/archive

go 1.25.0

require github.com/ocilayer/ocilayer/go-bindings v0.0.0

replace github.com/ocilayer/ocilayer/go-bindings => ../../
