// sigstore-java as a client of our services: signs a file, or verifies its bundle.
//
//   sign TRUSTED_ROOT SIGNING_CONFIG TOKEN FILE BUNDLE
//   verify TRUSTED_ROOT BUNDLE FILE IDENTITY ISSUER

import dev.sigstore.KeylessSigner;
import dev.sigstore.KeylessVerifier;
import dev.sigstore.SigningConfigProvider;
import dev.sigstore.TrustedRootProvider;
import dev.sigstore.VerificationOptions;
import dev.sigstore.VerificationOptions.CertificateMatcher;
import dev.sigstore.bundle.Bundle;
import dev.sigstore.oidc.client.OidcClients;
import dev.sigstore.oidc.client.TokenStringOidcClient;
import dev.sigstore.strings.StringMatcher;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

public class Sign {
  public static void main(String[] arguments) throws Exception {
    var root = TrustedRootProvider.from(Path.of(arguments[1]));
    switch (arguments[0]) {
      case "sign" -> {
        var clients = OidcClients.of(TokenStringOidcClient.from(arguments[3]));
        var builder =
            KeylessSigner.builder()
                .sigstorePublicDefaults()
                .trustedRootProvider(root)
                .signingConfigProvider(SigningConfigProvider.from(Path.of(arguments[2])))
                .enableRekorV2(true)
                .forceCredentialProviders(clients);
        try (var signer = builder.build()) {
          var bundle = signer.signFile(Path.of(arguments[4]));
          Files.writeString(Path.of(arguments[5]), bundle.toJson());
        }
      }
      case "verify" -> {
        var bundle = Bundle.from(Path.of(arguments[2]), StandardCharsets.UTF_8);
        var matcher =
            CertificateMatcher.fulcio()
                .subjectAlternativeName(StringMatcher.string(arguments[4]))
                .issuer(StringMatcher.string(arguments[5]))
                .build();
        var options = VerificationOptions.builder().addCertificateMatchers(matcher).build();
        KeylessVerifier.builder()
            .trustedRootProvider(root)
            .build()
            .verify(Path.of(arguments[3]), bundle, options);
      }
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }
}
