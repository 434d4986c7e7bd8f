// What skopeo and podman ask before they take an image: whether a policy of containers/image allows it. skopeo itself is not packaged with
// support for sigstore's signatures everywhere; the library that decides is a published module.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

func main() {
	policyFile := flag.String("policy", "", "policy.json")
	registries := flag.String("registries.d", "", "folder with the registries' configuration")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: image-policy -policy FILE -registries.d FOLDER IMAGE")
	}
	if err := allowed(*policyFile, *registries, flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("allowed")
}

func allowed(policyFile, registries, name string) error {
	policy, err := signature.NewPolicyFromFile(policyFile)
	if err != nil {
		return err
	}
	decides, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer func() { _ = decides.Destroy() }()
	reference, err := docker.ParseReference("//" + name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	source, err := reference.NewImageSource(ctx, &types.SystemContext{
		RegistriesDirPath:           registries,
		SystemRegistriesConfPath:    "/dev/null",
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
	})
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	ok, err := decides.IsRunningImageAllowed(ctx, image.UnparsedInstance(source, nil))
	if err == nil && !ok {
		err = fmt.Errorf("not allowed")
	}
	return err
}
