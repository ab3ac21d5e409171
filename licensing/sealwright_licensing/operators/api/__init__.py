"""The operators' API (policies/spec/operator-api.md): one module for each kind of resource."""
