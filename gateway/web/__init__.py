"""The pages: storefront, operations, and the client module for shops."""
