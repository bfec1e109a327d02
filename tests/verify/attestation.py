#!/usr/bin/env python3
"""Makes attestation.pb from quotes.json: an Attestation of go-tpm-tools, encoded by Google's `protobuf` (7.x, PyPI).

The fields are those of go-tpm-tools' proto/attest.proto and proto/tpm.proto. The event log is left out; the test adds it.
"""
import json
from pathlib import Path
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = Path(__file__).parent
KEY = "rsa2048:rsassa-sha256"
BYTES, UINT, ENUMLIKE, MESSAGE = 12, 13, 5, 11

file = descriptor_pb2.FileDescriptorProto(name="attest.proto", package="attest", syntax="proto3")


def message(name, *fields, parent=None, map_entry=False):
    made = (parent.nested_type if parent else file.message_type).add(name=name)
    made.options.map_entry = map_entry
    for field, number, kind, repeated, of in fields:
        made.field.add(name=field, number=number, type=kind, label=3 if repeated else 1, type_name=of)
    return made


pcrs = message("PCRs", ("hash", 1, ENUMLIKE, False, None), ("pcrs", 2, MESSAGE, True, ".attest.PCRs.PcrsEntry"))
message("PcrsEntry", ("key", 1, UINT, False, None), ("value", 2, BYTES, False, None), parent=pcrs, map_entry=True)
message("Quote", ("quote", 1, BYTES, False, None), ("raw_sig", 2, BYTES, False, None), ("pcrs", 3, MESSAGE, False, ".attest.PCRs"))
message("Attestation", ("ak_pub", 1, BYTES, False, None), ("quotes", 2, MESSAGE, True, ".attest.Quote"))
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Attestation = message_factory.GetMessageClass(pool.FindMessageTypeByName("attest.Attestation"))

recorded = json.loads((HERE / "quotes.json").read_text())
parts = {name: bytes.fromhex(value) for name, value in recorded["keys"][KEY].items()}
values = bytes.fromhex(recorded["plain_pcrs"])
attestation = Attestation(ak_pub=parts["public"][2:])
quote = attestation.quotes.add(quote=parts["plain_message"])
quote.raw_sig = bytes.fromhex("0014000b0100") + parts["plain_signature"]
quote.pcrs.hash = 11
quote.pcrs.pcrs[4], quote.pcrs.pcrs[9] = values[:32], values[32:]
(HERE / "attestation.pb").write_bytes(attestation.SerializeToString(deterministic=True))
