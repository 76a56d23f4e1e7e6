"""From a name to a language model: built-in models, folders, `.gguf` files and hub ids."""
