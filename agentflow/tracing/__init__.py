"""What a run did, as spans in two dialects: OpenTelemetry GenAI and OpenInference."""
