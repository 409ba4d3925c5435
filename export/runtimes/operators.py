"""Which operators a SavedModel may hold: those that compute, and no other."""

from mmzoo.export.runtimes.stateless import STATELESS

# State that lives in the session: variables, tables, arrays and stacks of a loop, random
# numbers. None leaves the process.
_STATE = """
AssignAddVariableOp AssignSubVariableOp AssignVariableOp DisableCopyOnRead ReadVariableOp
ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterDiv ResourceScatterMax
ResourceScatterMin ResourceScatterMul ResourceScatterNdAdd ResourceScatterNdMax
ResourceScatterNdMin ResourceScatterNdSub ResourceScatterNdUpdate ResourceScatterSub
ResourceScatterUpdate ResourceStridedSliceAssign VarHandleOp VarIsInitializedOp VariableShape
Assign IsVariableInitialized Variable VariableV2
AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable
AnonymousMutableHashTableOfTensors HashTableV2 InitializeTableV2 LookupTableExportV2
LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableRemoveV2 LookupTableSizeV2
MutableDenseHashTableV2 MutableHashTableOfTensorsV2 MutableHashTableV2
StackCloseV2 StackPopV2 StackPushV2 StackV2 TensorArrayCloseV3 TensorArrayConcatV3
TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3
TensorArrayV3 TensorArrayWriteV3
Multinomial ParameterizedTruncatedNormal RandomCrop RandomGamma RandomPoissonV2 RandomShuffle
RandomStandardNormal RandomUniform RandomUniformInt RngReadAndSkip RngSkip
SampleDistortedBoundingBoxV2 StatefulRandomBinomial StatefulStandardNormalV2
StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt StatefulUniformInt
StatelessRandomGetAlg TruncatedNormal
"""
# Marked as stateful for an error that they raise, or for the functions that they call.
_FLOW = """
Assert Case CheckNumerics CheckNumericsV2 Empty GuaranteeConst If StatefulPartitionedCall While
CudnnRNN CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3 CudnnRNNV2 CudnnRNNV3
AccumulateNV2
"""
# All of tensorflow-text, which reads its vocabularies from attributes and tensors.
_TEXT = """
CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets
FindSourceOffsets MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize
RegexSplitWithOffsets RougeL SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp
SentencepieceIdToStringOp SentencepieceOp SentencepieceStringToIdOp SentencepieceTokenizeOp
SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp SplitMergeTokenizeWithOffsets
TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize
TFText>FastWordpieceDetokenize TFText>NgramsStringJoin TFText>OffsetsToBoiseTags
TFText>PhraseDetokenize TFText>RoundRobinGenerateMasks TFText>RoundRobinTrim TFText>Utf8Binarize
TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits UnicodeScriptTokenizeWithOffsets
WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
"""
STATEFUL = frozenset((_STATE + _FLOW).split())
TEXT = frozenset(_TEXT.split())
ALLOWED = STATELESS | STATEFUL | TEXT

# In every SavedModel, and only in a place of their own: see `saved_model_check`.
SAVE = frozenset({"SaveV2", "MergeV2Checkpoints"})
RESTORE = frozenset({"RestoreV2"})
TABLE_FROM_FILE = frozenset({"InitializeTableFromTextFileV2"})
