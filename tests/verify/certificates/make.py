#!/usr/bin/env python3
"""Makes the certificates beside it, with `cryptography` 48: chains for the key whose private scalar is 32 bytes of 7."""
import datetime
from pathlib import Path
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
AK = ec.derive_private_key(int.from_bytes(bytes([7] * 32), "big"), ec.SECP256R1())
OTHER = ec.derive_private_key(int.from_bytes(bytes([9] * 32), "big"), ec.SECP256R1())
YEAR = lambda year: datetime.datetime(year, 1, 1)


def make(file, subject, key, issuer, issuer_key, ca=None, years=(2026, 2046), hash=hashes.SHA256(), extra=(), usage=True, signs_data=None):
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(YEAR(years[0])).not_valid_after(YEAR(years[1]))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(True, ca if ca >= 0 else None), critical=True)
    if usage:
        signs = ca is not None
        builder = builder.add_extension(x509.KeyUsage(not signs if signs_data is None else signs_data, False, signs_data is False, False, False, signs, signs, False, False), True)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(issuer_key, hash)
    (HERE / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


root, middle, rogue = (ec.generate_private_key(ec.SECP384R1()) for _ in range(3))
make("root.pem", "Root", root, "Root", root, ca=-1, hash=hashes.SHA384())
make("middle.pem", "Middle", middle, "Root", root, ca=0, hash=hashes.SHA384())
make("ak.pem", "AK", AK, "Middle", middle)
make("ak-old.pem", "Old AK", AK, "Middle", middle, years=(2020, 2021))
make("ak-other-key.pem", "AK", OTHER, "Middle", middle)
# The same names with other keys.
make("rogue-root.pem", "Root", rogue, "Root", rogue, ca=-1)
make("ak-of-rogue.pem", "AK", AK, "Root", rogue)
# An attestation key that issues certificates.
make("ak-under-leaf.pem", "AK under AK", AK, "AK", OTHER)
# An authority below one that may have none.
make("too-deep.pem", "Too deep", rogue, "Middle", middle, ca=-1)
make("ak-too-deep.pem", "AK", AK, "Too deep", rogue)
make("ak-unknown-critical.pem", "AK", AK, "Middle", middle,
     extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)])
# What is for something else than an attestation key, and what says that it is for one.
usages = lambda *ids: [(x509.ExtendedKeyUsage([x509.ObjectIdentifier(id) for id in ids]), True)]
make("ak-web-server.pem", "AK", AK, "Middle", middle, extra=usages("1.3.6.1.5.5.7.3.1"))
make("ak-endorsement.pem", "AK", AK, "Middle", middle, extra=usages("2.23.133.8.1"))
make("ak-encipherment.pem", "AK", AK, "Middle", middle, signs_data=False)
make("ak-authority.pem", "AK", AK, "Root", root, ca=0, signs_data=True)
make("ak-tcg.pem", "AK", AK, "Middle", middle, extra=usages("1.3.6.1.4.1.311.10.3.12", "2.23.133.8.3"))
make("ak-any.pem", "AK", AK, "Middle", middle, extra=usages("2.5.29.37.0"))
