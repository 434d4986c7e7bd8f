// A plug-in for keys in files, peer:///path/to/key.pem, out of sigstore's own handler of the protocol.
package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

type fileKey struct {
	signature.SignerVerifier
}

var errNotHere = errors.New("this plug-in makes no keys")

func (fileKey) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errNotHere
}

func (fileKey) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errNotHere
}

func (fileKey) SupportedAlgorithms() []string { return []string{"any"} }

func (fileKey) DefaultAlgorithm() string { return "any" }

func load(arguments *common.PluginArgs) (*fileKey, error) {
	text, err := os.ReadFile(arguments.InitOptions.KeyResourceID)
	if err != nil {
		return nil, err
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(text, nil)
	if err != nil {
		return nil, err
	}
	key, err := signature.LoadSignerVerifier(private, arguments.InitOptions.HashFunc)
	if err != nil {
		return nil, err
	}
	return &fileKey{key}, nil
}

func run() error {
	if os.Args[1] != common.ProtocolVersion {
		return fmt.Errorf("protocol %s, not %s", os.Args[1], common.ProtocolVersion)
	}
	arguments, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	key, err := load(arguments)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, arguments, key)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		_ = handler.WriteErrorResponse(os.Stdout, err)
		os.Exit(1)
	}
}
