"""Language models behind one seam, `ChatModel`: endpoints, LangChain objects, GGUF files."""
