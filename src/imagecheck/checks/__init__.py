"""The conformance suite, one module a promise's subject. A check reads documents; it starts nothing itself."""
