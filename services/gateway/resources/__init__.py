"""The API's resources, one module each: thin routes over the gateway's context."""
