module github.com/ocilayer/ocilayer/go-bindings/containerd/differences/builders

go 1.25.0

require (
	github.com/containerd/stargz-snapshotter/estargz v0.18.2
	github.com/google/go-containerregistry v0.20.7
	github.com/klauspost/compress v1.18.5
)

require (
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/vbatts/tar-split v0.12.2 // indirect
	golang.org/x/sync v0.19.0 // indirect
)
