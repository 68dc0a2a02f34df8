module github.com/ocilayer/ocilayer/go-bindings/containerd

go 1.25.0

require (
	github.com/containerd/containerd/v2 v2.2.9
	github.com/ocilayer/ocilayer/go-bindings v0.0.0
)

replace github.com/ocilayer/ocilayer/go-bindings => ../
