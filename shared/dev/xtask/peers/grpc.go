// A gRPC client of a Rekor v2 log, made of upstream's own parts: the generated client of rekor-tiles adds an entry, and its package for
// verifiers checks the answer.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"time"

	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	pb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/verify"
	cosignature "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	address := flag.String("address", "", "where the log is")
	vkey := flag.String("log", "", "verifier key of the log")
	witness := flag.String("witness", "", "verifier key of a witness that has to have cosigned the answer")
	reads := flag.Bool("reads", true, "also ask for tiles, bundles and checkpoint")
	flag.Parse()
	if err := run(*address, *vkey, *witness, *reads); err != nil {
		log.Fatal(err)
	}
}

func run(address, vkey, witness string, reads bool) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("the log's key: %w", err)
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	health, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("not healthy: %v %w", health, err)
	}
	request, err := request()
	if err != nil {
		return err
	}
	rekor := pb.NewRekorClient(connection)
	asking := ctx
	if witness != "" {
		asking = metadata.AppendToOutgoingContext(ctx, "wait", "witnessed")
	}
	entry, err := rekor.CreateEntry(asking, request)
	if err != nil {
		return fmt.Errorf("adding an entry: %w", err)
	}
	if err := verify.VerifyLogEntry(entry, verifier); err != nil {
		return fmt.Errorf("the entry does not verify: %w", err)
	}
	if witness != "" {
		cosigner, err := cosignature.NewVerifierForCosignatureV1(witness)
		if err != nil {
			return fmt.Errorf("the witness's key: %w", err)
		}
		checkpoint := entry.InclusionProof.Checkpoint.Envelope
		_, opened, err := verify.VerifyWitnessedCheckpoint(checkpoint, verifier, cosigner)
		if err != nil {
			return fmt.Errorf("the checkpoint does not verify: %w", err)
		}
		if len(opened.Sigs) < 2 {
			return fmt.Errorf("the witness has not cosigned: %s", checkpoint)
		}
	}

	var trailer metadata.MD
	_, err = rekor.CreateEntry(ctx, request, grpc.Trailer(&trailer))
	index := fmt.Sprint(entry.LogIndex)
	var header metadata.MD
	if status.Code(err) == codes.AlreadyExists && len(trailer.Get("x-log-index")) == 0 {
		_, err = rekor.CreateEntry(ctx, request, grpc.Header(&header))
	}
	said := append(trailer.Get("x-log-index"), header.Get("x-log-index")...)
	if status.Code(err) != codes.AlreadyExists || len(said) != 1 || said[0] != index {
		return fmt.Errorf("the same again: %w, index %v", err, said)
	}
	request.GetHashedRekordRequestV002().Digest[0] ^= 1
	_, err = rekor.CreateEntry(ctx, request)
	if status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("a wrong digest: %w", err)
	}
	if reads {
		if err := read(ctx, rekor, entry.CanonicalizedBody); err != nil {
			return err
		}
	}
	fmt.Println("index", index)
	return nil
}

func request() (*pb.CreateEntryRequest, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(public)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return &pb.CreateEntryRequest{Spec: &pb.CreateEntryRequest_HashedRekordRequestV002{
		HashedRekordRequestV002: &pb.HashedRekordRequestV002{
			Digest: digest[:],
			Signature: &pb.Signature{
				Content: signature,
				Verifier: &pb.Verifier{
					Verifier:   &pb.Verifier_PublicKey{PublicKey: &pb.PublicKey{RawBytes: public}},
					KeyDetails: common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
				},
			},
		},
	}}, nil
}

// The log has one entry, or some, and fewer than 256.
func read(ctx context.Context, rekor pb.RekorClient, body []byte) error {
	checkpoint, err := rekor.GetCheckpoint(ctx, &emptypb.Empty{})
	if err != nil {
		return fmt.Errorf("the checkpoint: %w", err)
	}
	var origin string
	var size int
	if _, err := fmt.Sscanf(string(checkpoint.Data), "%s\n%d\n", &origin, &size); err != nil {
		return fmt.Errorf("the checkpoint: %w", err)
	}
	bundle, err := rekor.GetEntryBundle(ctx, &pb.EntryBundleRequest{N: fmt.Sprintf("000.p/%d", size)})
	if err != nil || !bytes.Contains(bundle.Data, body) {
		return fmt.Errorf("the entry bundle: %w", err)
	}
	tile, err := rekor.GetTile(ctx, &pb.TileRequest{L: 0, N: fmt.Sprintf("000.p/%d", size)})
	if err != nil || len(tile.Data) != 32*size {
		return fmt.Errorf("the tile: %w", err)
	}
	_, err = rekor.GetTile(ctx, &pb.TileRequest{L: 0, N: "001"})
	if status.Code(err) != codes.NotFound {
		return fmt.Errorf("a tile that is not there: %w", err)
	}
	return nil
}
