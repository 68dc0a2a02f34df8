module github.com/ocilayer/ocilayer/go-bindings

go 1.23
